"""Through pycuda: the same answers from the same fake GPU, which checks every call."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import FOREIGN, Machine, runtime
from fake_gpu import Stream, Work
from fake_pycuda import FakePycuda, LogicError, on_pycuda
from fake_tensorrt import FakeTensorRt, opened, pictures, same
from two_cameras import TwoCameras

from engines import cuda
from engines.cuda import ADVICE, LOST, DeviceLostError
from engines.errors import EngineError
from engines.pycuda_binding import PycudaBinding, code_from_error


@pytest.fixture
def through(machine) -> Machine:
    return on_pycuda(machine)


@pytest.mark.parametrize("integrated", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_answers_as_through_cuda_bindings(integrated, batch) -> None:
    machine = on_pycuda(Machine(integrated=integrated))
    with opened(machine, FakeTensorRt(machine, batch=batch)) as engine:
        assert "pycuda has no CUDA graphs" in engine.why_no_graph
        assert any("pycuda has no CUDA graphs" in note for note in engine.notes)
        for seed in range(3):
            ticket = engine.submit(pictures(batch, seed))
            assert same(engine.infer(pictures(4, seed + 9)), pictures(4, seed + 9))
            assert same(engine.collect(ticket), pictures(batch, seed))
    gc.collect()
    machine.check()


class Array:
    """Somebody's array in the engine's context, written on a stream of his own."""

    def __init__(self, machine: Machine, values: np.ndarray, stream: int | None) -> None:
        self.block = machine.gpu.allocate(values.nbytes, "device", FOREIGN)
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": "|u1",
            "data": (self.block.address, False),
            "version": 3,
            "stream": stream,
        }


def test_arrays_of_the_gpu_are_waited_for_on_the_host(through) -> None:
    through.current.append(FOREIGN)
    values = pictures(1)
    array = Array(through, values, 0x900)
    through.gpu.streams[0x900] = Stream("the producer's stream", FOREIGN)

    def write(what: np.ndarray) -> None:
        def copy() -> None:
            array.block.data[:] = what.reshape(-1)

        where = [(array.block.address, what.nbytes)]
        through.gpu.put(0x900, Work("the producer", [], where, copy))

    with opened(through) as engine:
        write(values)
        ticket = engine.submit(array)
        write(pictures(1, 7))  # a race, were it not after the engine has read
        assert same(engine.collect(ticket), values)
    through.current.pop()
    through.gpu.forget(FOREIGN)


def test_what_is_no_memory_of_the_context_is_refused(through) -> None:
    array = Array(through, pictures(1), None)
    with opened(through) as engine, pytest.raises(EngineError, match="not memory of a GPU"):
        engine.infer(array)
    through.gpu.forget(FOREIGN)


@pytest.mark.parametrize("code", sorted({*LOST, *ADVICE} - {35}))
def test_its_words_are_read_as_the_number_that_they_stand_for(code) -> None:
    _, words = runtime.cudaGetErrorString(runtime.cudaError_t(code))
    read = code_from_error(LogicError(f"cuMemAlloc failed: {words.decode()}"))
    assert read == code


def test_a_lost_gpu_is_lost_and_ordinary_failures_are_not(through) -> None:
    with opened(through) as engine:
        through.fail("cudaMemcpyAsync", 1)
        with pytest.raises(EngineError, match="CUDA error 1 in cudaMemcpyAsync") as told:
            engine.infer(pictures(1))
        assert not isinstance(told.value, DeviceLostError)
        assert same(engine.infer(pictures(1)), pictures(1))
        through.gpu.lost = 719
        with pytest.raises(DeviceLostError, match="719"):
            engine.infer(pictures(1))
    assert through.resets == 1


def test_two_cameras_a_loss_and_an_end_through_pycuda() -> None:
    games = [TwoCameras(seed, on_pycuda) for seed in range(8)]
    for game in games:
        game.play()
    assert sum(game.right for game in games) and sum(game.errors for game in games)


@pytest.mark.parametrize(
    ("asked", "bindings", "installed", "chosen", "why"),
    [
        ("", 0, True, "cuda-bindings", "CUDA graphs"),
        ("", 35, True, "pycuda", "does not fit the driver"),
        ("", 35, False, "cuda-bindings", "pycuda is not installed"),
        ("", None, True, "pycuda", "cuda-bindings is not installed"),
        ("pycuda", 0, True, "pycuda", "PROTOEDGE_CUDA=pycuda"),
        ("cuda-bindings", 35, True, "cuda-bindings", "PROTOEDGE_CUDA"),
    ],
)
def test_the_choice_and_its_reason(monkeypatch, asked, bindings, installed, chosen, why) -> None:
    def binding(name: str) -> SimpleNamespace:
        if bindings is None:
            raise EngineError("none")
        versions = dict.fromkeys(("cudaDriverGetVersion", "cudaRuntimeGetVersion"), lambda: (0, 1))
        return SimpleNamespace(cudaGetDeviceCount=lambda: (bindings, 1), **versions)

    monkeypatch.setenv("PROTOEDGE_CUDA", asked)
    monkeypatch.setattr(cuda, "_binding", binding)
    monkeypatch.setattr(cuda, "_pycuda", lambda: PycudaBinding(FakePycuda(Machine()), None))
    monkeypatch.setattr(cuda, "find_spec", lambda name: installed or None)
    found, reason = cuda.back_end()
    assert found == chosen
    assert why in reason


def test_what_is_asked_for_and_cannot_be_is_an_error(monkeypatch) -> None:
    monkeypatch.setenv("PROTOEDGE_CUDA", "cupy")
    with pytest.raises(EngineError, match="give cuda-bindings or pycuda"):
        cuda.back_end()
