"""The runtime on a real GPU, without TensorRT: slots, events, graphs, guests, a kernel astray.

`just test-gpu`. It needs a driver, cuda-bindings and NVRTC; torch, CuPy and pycuda are used where
they are there. TensorRT itself: `test_engine_gpu.py`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fake_tensorrt import expected, fake_plan
from fake_tensorrt import pictures as fake_pictures
from gpu_kernels import KernelTensorRt, rounded, why_no_nvrtc
from in_flight import infer_each

from engines.cuda import Cuda, DeviceLostError, gpus
from engines.engine import PipelinedEngine
from engines.errors import EngineError
from engines.gpu.engine import Libraries, TensorRtEngine
from engines.gpu.reopen import ReopeningEngine

SIZE = (256, 256)


def _why_not() -> str:
    try:
        gpus()
    except EngineError as error:
        return str(error)
    return why_no_nvrtc()


why_not = _why_not()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(why_not), reason=why_not or "a GPU is here"),
]


def opened(*, slots: int = 2, rounds: int = 0, **options) -> TensorRtEngine:
    cuda = Cuda.installed()
    trt = KernelTensorRt(cuda, **{"size": SIZE, **options})
    trt.rounds = rounds
    libraries, device = Libraries(cuda, trt), gpus()[0].name
    return TensorRtEngine(fake_plan(), libraries=libraries, slots=slots, device=device)


pictures = partial(fake_pictures, size=SIZE)


def same(given, images) -> bool:
    return all(
        np.array_equal(rounded(got), rounded(wanted))
        for got, wanted in zip(given, expected(images), strict=True)
    )


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_it_computes_captured_and_in_flight(batch, slots) -> None:
    with opened(batch=batch, slots=slots) as engine:
        assert isinstance(engine, PipelinedEngine)
        assert engine.why_no_graph == ""
        assert engine.why_no_graph == ""
        for count in (1, 4, 7):
            assert same(engine.infer(pictures(count, count)), pictures(count, count))
        batches = [pictures(1 + seed % batch, seed) for seed in range(40)]
        for given, images in zip(infer_each(engine, batches), batches, strict=True):
            assert same(given, images)


def test_it_can_be_made_and_closed_many_times() -> None:
    cuda = Cuda.installed()
    with opened() as engine:
        engine.infer(pictures(1))
        with engine._gpu:
            before = cuda.run("cudaMemGetInfo")[0]
        for _ in range(20):
            with opened() as other:
                other.infer(pictures(1))
        with engine._gpu:
            after = cuda.run("cudaMemGetInfo")[0]
    assert before - after < 32 << 20


def test_one_thread_submits_while_another_collects() -> None:
    with opened(slots=3) as engine:
        results = {}
        waiting: list[tuple[int, object]] = []
        room = threading.Semaphore(3)

        def collects() -> None:
            while len(results) < 50:
                if not waiting:
                    time.sleep(0)
                    continue
                seed, ticket = waiting.pop(0)
                results[seed] = engine.collect(ticket)
                room.release()

        thread = threading.Thread(target=collects)
        thread.start()
        for seed in range(50):
            room.acquire()
            waiting.append((seed, engine.submit(pictures(1, seed))))
        thread.join()
        assert all(same(results[seed], pictures(1, seed)) for seed in range(50))


def need(module: str):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    return importlib.import_module(module)


def test_torch_arrays_are_taken_without_a_copy_on_any_of_its_streams() -> None:
    torch = need("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    for count in (1, 3):
        array = torch.as_tensor(pictures(count)).cuda()
        with opened() as engine:
            assert same(engine.infer(array), pictures(count))
            array.copy_(torch.as_tensor(pictures(count, 1)), non_blocking=True)
            assert same(engine.infer(array), pictures(count, 1))
    assert float(torch.ones(4, device="cuda").sum()) == 4  # torch works on after it


def test_cupy_arrays_are_taken_on_cupys_own_stream() -> None:
    cupy = need("cupy")
    with cupy.cuda.Stream(non_blocking=True), opened() as engine:
        for seed in range(20):
            array = cupy.zeros((1, *SIZE, 3), cupy.uint8)
            array[...] = cupy.asarray(pictures(1, seed))
            assert same(engine.infer(array), pictures(1, seed))


@pytest.mark.parametrize("context", ["autoprimaryctx", "autoinit"])
def test_pycudas_context_is_shared(context) -> None:
    need("pycuda")
    program = (
        f"import pycuda.{context}, pycuda.gpuarray as gpuarray\n"
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_cuda_gpu import opened, pictures, same\n"
        "with opened() as engine:\n"
        "    assert same(engine.infer(gpuarray.to_gpu(pictures(1))), pictures(1))\n"
        "    assert same(engine.infer(pictures(1, 1)), pictures(1, 1))\n"
        "assert (gpuarray.to_gpu(pictures(1)).get() == pictures(1)).all()\n"
    )
    _run(program)


def test_a_kernel_astray_costs_errors_until_the_context_is_made_anew() -> None:
    """In a process of its own: a context that is gone takes all of the process's work with it."""
    _run("import sys; sys.path.insert(0, sys.argv[1])\nfrom test_cuda_gpu import stray\nstray()\n")


def stray() -> None:
    made = []

    def open_it() -> TensorRtEngine:
        made.append(opened(capturable=False))
        return made[-1]

    with ReopeningEngine(open_it, say=print) as engine:
        assert same(engine.infer(pictures(1)), pictures(1))
        made[0]._all[0]._execution._context.trt.refuse = 1
        made[0]._all[0]._graph = made[0]._all[1]._graph = None  # so that the kernel is launched
        try:
            engine.infer(pictures(1))
        except DeviceLostError as error:
            print("lost as it should be:", error)
        else:
            raise AssertionError("an illegal address was no error")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                assert same(engine.infer(pictures(1, 1)), pictures(1, 1))
            except EngineError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the engine did not come back")


def test_how_long_it_takes(capsys) -> None:
    """Prints; asserts nothing of time."""
    images = pictures(1)
    rows = []
    for rounds in (0, 20_000):
        for slots in (1, 2, 3):
            with opened(slots=slots, rounds=rounds) as engine:
                list(infer_each(engine, [images] * 50))
                alone = min(_timed(lambda: engine.infer(images)) for _ in range(300))
                together = _timed(lambda: list(infer_each(engine, [images] * 500))) / 500
                for slot in engine._all:
                    slot._graph = None
                issued = min(_timed(lambda: engine.infer(images)) for _ in range(300))
                rows.append((rounds, slots, alone, together, issued))
    with capsys.disabled():
        print(f"\n{gpus()[0].name}, us a frame of {SIZE}")
        print("rounds slots  infer  in flight  infer without a graph")
        for rounds, slots, *seconds in rows:
            alone, together, issued = (1e6 * each for each in seconds)
            print(f"{rounds:6} {slots:5} {alone:6.1f} {together:10.1f} {issued:8.1f}")


def _timed(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
