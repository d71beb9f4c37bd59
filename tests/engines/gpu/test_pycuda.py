"""Through pycuda: the same answers from the same fake GPU, which checks every call."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
from fake_cuda import Machine
from fake_pycuda import FakePycuda, LogicError, on_pycuda, words_of
from fake_tensorrt import FakeTensorRt, opened, pictures, same

from engines import cuda
from engines.cuda import ADVICE, LOST
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


@pytest.mark.parametrize("more", ["", " - and what pycuda adds"])
def test_its_words_are_read_as_the_number_that_they_stand_for(through, more) -> None:
    numbers = through.cuda.runtime._numbers_of_words
    for code in {*LOST, *ADVICE, 701}:
        told = LogicError(f"cuMemAlloc failed: {words_of(code)}{more}")
        assert code_from_error(told, numbers) == code
    assert code_from_error(LogicError("cuMemAlloc failed: a new kind"), numbers) == 999


def test_a_context_that_somebody_has_reset_is_had_anew(through) -> None:
    with opened(through) as engine:
        assert same(engine.infer(pictures(1)), pictures(1))
    through.active = False  # as after another library's cudaDeviceReset
    with opened(through) as engine:
        assert same(engine.infer(pictures(1)), pictures(1))


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
