"""Images that are on the GPU already: taken without a copy, and waited for as their maker asks."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import FOREIGN, Machine, runtime
from fake_gpu import Stream, Violation, Work
from fake_pycuda import both_back_ends
from fake_tensorrt import FakeTensorRt, opened, pictures, same

from engines.errors import EngineError

pytestmark = both_back_ends


class OnDevice:
    """An array of the GPU, as pycuda, CuPy and torch show theirs."""

    def __init__(self, machine, values, *, stream=None, version=3, context=FOREIGN, offset=0):
        self.block = machine.gpu.allocate(values.nbytes + offset, "device", context)
        self.block.data[offset:] = values.reshape(-1)
        self.interface = {
            "shape": values.shape,
            "typestr": "|u1",
            "data": (self.block.address + offset, False),
            "strides": None,
            "version": version,
        }
        if version >= 3:
            self.interface["stream"] = stream

    @property
    def __cuda_array_interface__(self):
        return self.interface


@pytest.fixture
def guest(machine):
    """The machine, with a context that somebody else made and that is current here."""
    machine.current.append(FOREIGN)
    yield machine
    machine.current.pop()
    machine.gpu.forget(FOREIGN)


@pytest.mark.parametrize(("batch", "count"), [(1, 1), (1, 3), (2, 4), (3, 5), (4, 2)])
def test_device_images_give_what_host_images_give(guest, batch, count) -> None:
    with opened(guest, FakeTensorRt(guest, batch=batch)) as engine:
        array = OnDevice(guest, pictures(count))
        assert same(engine.infer(array), pictures(count))
        assert same(engine.infer(pictures(2, 5)), pictures(2, 5))  # its own input again


def test_a_whole_batch_on_the_device_is_not_copied(guest) -> None:
    trt = FakeTensorRt(guest, batch=2, size=(16, 16))  # 2 * 768 bytes: aligned
    with opened(guest, trt) as engine:
        images = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
        array = OnDevice(guest, images)
        guest.order.clear()
        assert same(engine.infer(array), images)
        assert guest.count("cudaMemcpyAsync") == 4  # the outputs of two batches


def test_what_is_not_aligned_is_copied_once_on_the_device(guest) -> None:
    with opened(guest) as engine:
        array = OnDevice(guest, pictures(1), offset=16)
        guest.order.clear()
        assert same(engine.infer(array), pictures(1))
        assert guest.count("cudaMemcpyAsync") == 3


def put_on(machine: Machine, handle: int, array: OnDevice, values: np.ndarray) -> None:
    """The producer writes its array on its own stream, some time later."""
    address, size = array.block.address, values.nbytes

    def write() -> None:
        array.block.data[:] = values.reshape(-1)

    machine.gpu.put(handle, Work("the producer", [], [(address, size)], write))


@pytest.mark.parametrize(("stream", "version"), [(1, 3), (0x900, 3), (1, 2)])
def test_the_producers_stream_is_waited_for_and_waits_in_turn(guest, stream, version) -> None:
    if stream != 1:
        guest.gpu.streams[stream] = Stream("the producer's stream", FOREIGN)
    with opened(guest, FakeTensorRt(guest, size=(16, 16))) as engine:
        first, second = (
            np.random.default_rng(seed).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
            for seed in (1, 2)
        )
        array = OnDevice(guest, first, stream=stream, version=version)
        put_on(guest, stream, array, first)
        ticket = engine.submit(array)
        put_on(guest, stream, array, second)  # a race, were it not for the second event
        assert same(engine.collect(ticket), first)


def test_without_a_stream_a_producer_that_still_writes_is_a_race(guest) -> None:
    guest.gpu.streams[0x900] = Stream("the producer's stream", FOREIGN)
    with opened(guest) as engine:
        array = OnDevice(guest, pictures(1), stream=None)
        put_on(guest, 0x900, array, pictures(1))
        with pytest.raises(Violation, match="the producer"):
            engine.infer(array)


def test_the_array_lives_as_long_as_it_is_read(guest) -> None:
    with opened(guest) as engine:
        array = OnDevice(guest, pictures(1))
        ticket = engine.submit(array)
        before = gc.get_referrers(array)
        assert any(getattr(owner, "_guest", None) is array for owner in engine._all), before
        engine.collect(ticket)
        assert not any(getattr(owner, "_guest", None) is array for owner in engine._all)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"typestr": "<f4"}, "must be uint8"),
        ({"shape": (16, 8, 3)}, r"must be \(N, 8, 16, 3\) or \(8, 16, 3\), not \(16, 8, 3\)"),
        ({"shape": (8, 16)}, r"not \(8, 16\)"),
        ({"shape": (0, 8, 16, 3)}, r"not \(0, 8, 16, 3\)"),
        ({"strides": (800, 96, 3, 1)}, "C-contiguous"),
        ({"stream": 0}, "stream 0 is ambiguous"),
        ({"mask": object()}, "no mask"),
        ({"data": (0x10, False)}, "not memory of a GPU"),
    ],
)
def test_device_arrays_that_do_not_fit_are_refused(guest, change, told) -> None:
    with opened(guest) as engine:
        array = OnDevice(guest, pictures(2))
        array.interface.update(change)
        with pytest.raises(EngineError, match=told):
            engine.infer(array)
        assert same(engine.infer(pictures(1)), pictures(1))


def test_one_image_of_jetson_utils_is_read_where_the_host_has_it(guest) -> None:
    """`cudaImage`: mapped memory, three dimensions, and a name for its order of colours."""
    images = pictures(1)
    with opened(guest) as engine:
        array = OnDevice(guest, images)
        guest.gpu.free(array.block.address, ("device",), FOREIGN)
        array.block = guest.gpu.allocate(images.nbytes, "mapped", FOREIGN)
        array.block.data[:] = images.reshape(-1)
        array.interface["shape"] = images.shape[1:]
        array.interface["strides"] = (48, 3, 1)
        array.interface["data"] = (array.block.address, False)
        array.format = "bgr8"
        assert same(engine.infer(array), images)
        array.format = "rgb8"
        with pytest.raises(EngineError, match=r"are rgb8 and must be BGR; .*cudaConvertColor"):
            engine.infer(array)


def test_page_locked_memory_that_the_gpu_does_not_see_is_refused(guest) -> None:
    with opened(guest) as engine:
        array = OnDevice(guest, pictures(1))
        array.block = guest.gpu.allocate(8 * 16 * 3, "pinned", FOREIGN)
        array.interface["data"] = (array.block.address, False)
        with pytest.raises(EngineError, match="not memory of a GPU"):
            engine.infer(array)


def test_strides_that_do_not_matter_are_no_hindrance(guest) -> None:
    with opened(guest) as engine:
        array = OnDevice(guest, pictures(1))
        array.interface["strides"] = (7, 48, 3, 1)
        assert same(engine.infer(array), pictures(1))


def test_images_of_another_context_or_gpu_are_refused_with_the_way_out(guest) -> None:
    with opened(guest) as engine:
        with pytest.raises(EngineError, match=r"another CUDA context; .*pycuda"):
            engine.infer(OnDevice(guest, pictures(1), context=0xAAAA))
        array = OnDevice(guest, pictures(1))
        kind = runtime.cudaMemoryType.cudaMemoryTypeDevice
        elsewhere = SimpleNamespace(type=kind, device=1)
        guest.cuda.runtime.__dict__["cudaPointerGetAttributes"] = lambda ptr: (elsewhere,)
        with pytest.raises(EngineError, match="on GPU 1, the engine on 0"):
            engine.infer(array)
    guest.gpu.forget(0xAAAA)


def test_a_context_that_is_current_is_used_and_left_as_it_was(guest) -> None:
    with opened(guest) as engine:
        assert same(engine.infer(pictures(1)), pictures(1))
        assert {block.context for block in guest.gpu.blocks.values()} == {FOREIGN}
        assert guest.current == [FOREIGN]
