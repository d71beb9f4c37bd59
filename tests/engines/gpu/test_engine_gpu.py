"""TensorRT for real: what it gives against ONNX Runtime, in every way to call it, and its times."""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest
from in_flight import infer_each

from engines.choose import ENGINES
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.engine import EngineOptions
from engines.gpu.engine import TensorRtEngine

FLAVOURS = [name for name in ENGINES if name.startswith("tensorrt")]
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "int8": 5e-2}


@pytest.fixture(params=FLAVOURS)
def flavour(request) -> str:
    problem = ENGINES[request.param].unavailable_reason()
    if problem:
        pytest.skip(problem)
    return request.param


pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("batch", [1, 2])
def test_it_agrees_with_onnx_runtime(
    flavour, precision, batch, inspector_graph, images, tmp_path
) -> None:
    model = inspector_graph(precision, batch=batch)
    with OnnxRuntimeEngine(model, precision=precision, threads=1) as reference:
        wanted = reference.infer(images)
    said: list[str] = []
    for _ in range(2):  # compiled, then from the folder
        with TensorRtEngine.from_model(
            model, flavour=flavour, options=EngineOptions(precision, tmp_path, say=said.append)
        ) as engine:
            for got, right in zip(engine.infer(images), wanted, strict=True):
                np.testing.assert_allclose(got, right, atol=TOLERANCE[precision])
            batches = [images[at : at + batch] for at in (0, 2, 1, 3, 0)]
            for part, at in zip(infer_each(engine, batches), (0, 2, 1, 3, 0), strict=True):
                got, right = part[1], wanted[1][at : at + batch]
                np.testing.assert_allclose(got, right, atol=TOLERANCE[precision])
    assert len(said) == 1


def test_it_is_launched_as_a_graph(flavour, inspector_graph, images) -> None:
    with TensorRtEngine.from_model(
        inspector_graph(), flavour=flavour, options=EngineOptions("fp32")
    ) as engine:
        engine.infer(images)
        if engine.why_no_graph:
            pytest.fail(f"not captured: {engine.why_no_graph}")


def test_torch_arrays_give_what_numpys_give(flavour, inspector_graph, images) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    with TensorRtEngine.from_model(
        inspector_graph(), flavour=flavour, options=EngineOptions("fp32")
    ) as engine:
        wanted = engine.infer(images)
        for got, right in zip(engine.infer(torch.as_tensor(images).cuda()), wanted, strict=True):
            assert np.array_equal(got, right)


@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_how_long_it_takes(flavour, precision, inspector_graph, capsys) -> None:
    """Prints; asserts nothing of time."""
    model = inspector_graph(precision, size=256)
    image = np.zeros((1, 256, 256, 3), np.uint8)
    with TensorRtEngine.from_model(
        model, flavour=flavour, options=EngineOptions(precision)
    ) as engine:
        list(infer_each(engine, [image] * 100))
        alone = []
        for _ in range(500):
            begun = time.perf_counter()
            engine.infer(image)
            alone.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        count = sum(1 for _ in infer_each(engine, [image] * 500))
        together = (time.perf_counter() - begun) / count
        p50, p99 = np.percentile(alone, [50, 99]) * 1e6
        with capsys.disabled():
            print(
                f"\n{engine.device}, {flavour} {precision} 256 px: infer p50 {p50:.0f} us, p99 "
                f"{p99:.0f} us; in flight {together * 1e6:.0f} us a frame"
            )
