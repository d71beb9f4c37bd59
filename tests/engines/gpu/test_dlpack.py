"""Frames that have DLPack alone: taken once, waited for, and given back after they were read."""

from __future__ import annotations

import gc

import pytest
from dlpack_maker import GPU, MANAGED, PINNED, ROCM, HandedOver
from fake_cuda import FOREIGN
from fake_pycuda import both_back_ends
from fake_tensorrt import FakeTensorRt, opened, pictures, same

from engines.errors import EngineError

pytestmark = both_back_ends


@pytest.fixture
def guest(machine):
    """The machine, with a context that somebody else made and that is current here."""
    machine.current.append(FOREIGN)
    yield machine
    machine.current.pop()
    machine.gpu.forget(FOREIGN)


class DlpackAlone:
    """What a real maker hands over, without anything else that it offers."""

    def __init__(self, array, device=None):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return self.device or self.array.__dlpack_device__()

    def __dlpack__(self, **asked):
        return self.array.__dlpack__(**asked)


@pytest.mark.parametrize("version", [None, 0, 1])
@pytest.mark.parametrize(("kind", "batch", "count"), [(GPU, 1, 1), (GPU, 2, 5), (MANAGED, 3, 3)])
def test_images_of_the_gpu_are_taken_once_and_given_back_once(
    guest, version, kind, batch, count
) -> None:
    images = HandedOver(guest, pictures(count), context=FOREIGN, device=(kind, 0), version=version)
    with opened(guest, FakeTensorRt(guest, batch=batch)) as engine:
        assert same(engine.infer(images), pictures(count))
        gc.collect()
        assert images.given_back == 1
        assert images.asked == [1], "the stream that the engine waits for"
        used = b"used_dltensor" if version is None else b"used_dltensor_versioned"
        assert images.names() == [used], "nobody takes it again"


def test_they_are_kept_until_they_were_read(guest) -> None:
    images = HandedOver(guest, pictures(1), context=FOREIGN)
    with opened(guest) as engine:
        ticket = engine.submit(images)
        gc.collect()
        assert images.given_back == 0
        engine.collect(ticket)
        gc.collect()
        assert images.given_back == 1


def test_their_maker_is_waited_for_on_the_stream_that_it_was_told(guest) -> None:
    images = HandedOver(guest, pictures(1, 3), context=FOREIGN)
    images.write_later(1, pictures(1, 4))  # it has put its stream's work before stream 1's
    with opened(guest) as engine:
        ticket = engine.submit(images)
        images.write_later(1, pictures(1, 5))  # what comes later waits for the engine in turn
        assert same(engine.collect(ticket), pictures(1, 4))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"type": (2, 32, 1, 0)}, "must be uint8"),
        ({"type": (1, 8, 4, 0)}, "must be uint8"),
        ({"shape": (16, 8, 3)}, r"not \(16, 8, 3\)"),
        ({"shape": (0, 8, 16, 3)}, r"not \(0, 8, 16, 3\)"),
        ({"shape": (1,) * 9}, "3 or 4 dimensions, not 9"),
        ({"shape": ()}, "3 or 4 dimensions, not 0"),
        ({"strides": (800, 96, 3, 1)}, "C-contiguous"),
        ({"device": (GPU, 1)}, "on GPU 1, the engine on 0"),
        ({"device": (ROCM, 0)}, "DLPack's type 10; give them in memory of CUDA"),
        ({"version": 2}, "of DLPack 2, and this reads up to 1"),
        ({"format": "rgb8"}, "are rgb8 and must be BGR"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_given_back(guest, changed, told) -> None:
    images = HandedOver(guest, pictures(2), context=FOREIGN)
    for name, value in changed.items():
        known = {"type": images.described, "strides": images.described}.get(name)
        if known is None:
            setattr(images, name, value)
        else:
            known[name] = value
    with opened(guest) as engine:
        with pytest.raises(EngineError, match=told) as refused:
            engine.infer(images)
        assert "\n" not in str(refused.value)
        assert images.given_back == len(images.capsules)
        assert same(engine.infer(pictures(1)), pictures(1))


def test_a_maker_that_refuses_or_hands_over_twice_is_named(guest) -> None:
    class Refuses(DlpackAlone):
        def __dlpack__(self, **asked):
            raise BufferError("not exported:\n  it requires a gradient")

    class Twice(DlpackAlone):
        def __dlpack__(self, *, stream=None):
            return self.array

    images = HandedOver(guest, pictures(1), context=FOREIGN)
    with opened(guest) as engine:
        with pytest.raises(EngineError, match=r"cannot be had: not exported: it requires a grad"):
            engine.infer(Refuses(None, (GPU, 0)))
        for wrong in (None, "a capsule", images):
            with pytest.raises(EngineError, match="gave no capsule that can be taken"):
                engine.infer(Twice(wrong, (GPU, 0)))
        once = Twice(images.capsule(), (GPU, 0))
        assert same(engine.infer(once), pictures(1))
        with pytest.raises(EngineError, match="must make a new one each time"):
            engine.infer(once)
        gc.collect()
    assert images.given_back == 1


@pytest.mark.parametrize("integrated", [False, True])
def test_host_memory_of_real_makers(guest, integrated) -> None:
    torch = pytest.importorskip("torch")
    guest.gpu.integrated = integrated
    with opened(guest) as engine:
        for count in (1, 3):
            images = pictures(count)
            of_torch = torch.from_numpy(images.copy())
            wide = torch.zeros(count, 8, 16, 4, dtype=torch.uint8)
            wide[..., :3] = of_torch
            for given in (images, of_torch, wide[..., :3]):
                assert same(engine.infer(DlpackAlone(given)), images)
            assert same(engine.infer(of_torch), images), "no other protocol of its is asked"
        assert same(engine.infer(DlpackAlone(images[0])), images[:1])
        assert same(engine.infer(DlpackAlone(images, (PINNED, 0))), images)
        with pytest.raises(EngineError, match="must be uint8, not float32"):
            engine.infer(torch.zeros(1, 8, 16, 3))
        with pytest.raises(EngineError, match="cannot be had: "):
            engine.infer(torch.zeros(1, 8, 16, 3, requires_grad=True))
        with pytest.raises(EngineError, match=r"must be \(N, 8, 16, 3\)"):
            engine.infer(DlpackAlone(images.reshape(count, 16, 8, 3)))
