"""Which layer of an fp16 or int8 graph departs from fp32 first, on ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibrate.backbones.backbone import load_backbone
from calibrate.backbones.features_graph import features_graph
from calibrate.precision.convert import Conversion
from calibrate.precision.layer_drift import LayerDrift, measure_layer_drift
from calibrate.protoad.graph import inspector_graph
from engines.choose import open_engine
from engines.engine import Engine, EngineOptions
from engines.plans.compile import compile_plan

SIZE = (64, 64)


@pytest.fixture(scope="module")
def inspectors(pictures, directions) -> dict[str, bytes]:
    features = features_graph(load_backbone("bundled"), size=SIZE, layers=("layer2", "layer3"))
    found = {}
    for precision in ("fp16", "int8"):
        lower = Conversion(features.model, precision, calibration=[pictures(2, SIZE)]).model()
        rows = directions(16, features.dimensions)
        found[precision] = inspector_graph(
            replace(features, model=lower), rows, precision=precision
        )
    return found


def opener(name: str, precision: str) -> Callable[[bytes], Engine]:
    options = EngineOptions(precision=precision)
    return lambda model: open_engine(model, engine=name, options=options)


def drift(model: bytes, images: np.ndarray, precision: str, engine: str) -> list[LayerDrift]:
    found = measure_layer_drift(
        model,
        images,
        open_engine=opener(engine, precision),
        open_reference=opener("onnxruntime", "fp32"),
    )
    assert len(found.scores) == len(found.reference) == len(images)
    return list(found.layers)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.05), ("int8", 0.25)])
def test_a_sound_graph_drifts_a_little_and_nowhere_far(
    engine, precision, most, inspectors, pictures
) -> None:
    pytest.importorskip(engine)
    layers = drift(inspectors[precision], pictures(2, SIZE), precision, engine)
    kinds = {layer.kind for layer in layers}
    assert {"Conv", "Relu"} <= kinds and not kinds & {"Cast", "QuantizeLinear", "DequantizeLinear"}
    assert 0 < max(layer.error for layer in layers) < most
    assert not any(layer.exceeds(most) for layer in layers)


def test_the_first_layer_that_goes_wrong_is_found(inspectors, pictures) -> None:
    """The scale of one convolution's input is a hundred times too coarse."""
    graph = onnx.load_model_from_string(inspectors["int8"])
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    makers = {node.output[0]: node for node in graph.graph.node}
    rounded = [one for one in convolutions if makers[one.input[0]].op_type == "DequantizeLinear"]
    wrong = rounded[len(rounded) // 2]
    scale = makers[wrong.input[0]].input[1]
    (stored,) = (weight for weight in graph.graph.initializer if weight.name == scale)
    stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) * np.float32(100), scale))
    layers = drift(graph.SerializeToString(), pictures(1, SIZE), "int8", "onnxruntime")
    assert next(layer for layer in layers if layer.exceeds(0.25)).name == wrong.name


def test_what_overflows_is_no_number_and_beyond_every_tolerance(inspectors, pictures) -> None:
    graph = onnx.load_model_from_string(inspectors["fp16"])
    first = next(node for node in graph.graph.node if node.op_type == "Conv")
    (stored,) = (weight for weight in graph.graph.initializer if weight.name == first.input[1])
    loud = np.full_like(numpy_helper.to_array(stored), 6e4)
    stored.CopyFrom(numpy_helper.from_array(loud, stored.name))
    layers = drift(graph.SerializeToString(), pictures(1, SIZE), "fp16", "onnxruntime")
    broken = next(layer for layer in layers if layer.exceeds(1e9))
    assert (broken.name, broken.error) == (first.name, None)


def test_a_plan_is_asked_for_no_block_of_prototypes(directions, pictures) -> None:
    """Real TensorRT-RTX compiles what it is asked for; ONNX Runtime runs it in its place."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    features = features_graph(load_backbone("bundled"), size=SIZE, layers=("layer2", "layer3"))
    model = inspector_graph(features, directions(1_100, features.dimensions), precision="fp32")
    run = opener("onnxruntime", "fp32")
    plans = []

    def compiled(asking: bytes) -> Engine:
        plans.append(compile_plan(asking, gpu=("sm89",)))
        return run(asking)

    layers = measure_layer_drift(
        model, pictures(1, SIZE), open_engine=compiled, open_reference=run, in_plan=True
    ).layers
    assert plans and [layer.kind for layer in layers].count("ReduceMax") == 2, "one product for all"
    assert not any(layer.exceeds(1e-5) for layer in layers)
