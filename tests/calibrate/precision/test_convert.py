"""Precision is in the graph: what the ONNX says, and what TensorRT-RTX then really executes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference
from random_weights import resnet18

from calibrate.backbones.backbone import load_backbone
from calibrate.backbones.features_graph import FeaturesGraph, features_graph
from calibrate.precision import int8 as quantise_module
from calibrate.precision.convert import Conversion
from calibrate.precision.int8 import MIN_CHANNELS, PrecisionError
from calibrate.protoad.graph import inspector_graph
from engines.cpu.onnxruntime import OnnxRuntimeEngine

PRECISIONS = ("fp32", "fp16", "int8")
SIZE = (128, 128)


@pytest.fixture(scope="module", params=["bundled", "resnet18"])
def graph(request: pytest.FixtureRequest) -> FeaturesGraph:
    """Features in fp32: the bundled backbone's stages 2 and 3, or all of a ResNet-18."""
    if request.param == "bundled":
        return features_graph(load_backbone("bundled"), size=SIZE, layers=("layer2", "layer3"))
    return features_graph(resnet18(), size=SIZE, layers=("layer1", "layer2", "layer3"))


def converted(graph: FeaturesGraph, precision: str, *, calibration) -> FeaturesGraph:
    conversion = Conversion(graph.model, precision, calibration=calibration)
    return replace(graph, model=conversion.model())


@pytest.fixture(scope="module")
def features(graph: FeaturesGraph, pictures) -> dict[str, FeaturesGraph]:
    return {name: converted(graph, name, calibration=[pictures(4, SIZE)]) for name in PRECISIONS}


@pytest.fixture(scope="module")
def inspectors(features, directions) -> dict[str, bytes]:
    found = {}
    for name, given in features.items():
        stages = tuple(
            replace(stage, weight=1.5 if index else 1.0) for index, stage in enumerate(given.stages)
        )
        prototypes = directions(48, given.dimensions)
        weighed = replace(given, stages=stages)
        found[name] = inspector_graph(weighed, prototypes, precision=name)
    return found


def parsed(model: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(model)


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graph_is_valid_and_runs(precision, inspectors, pictures) -> None:
    onnx.checker.check_model(parsed(inspectors[precision]), full_check=True)
    with OnnxRuntimeEngine(inspectors[precision], precision=precision) as engine:
        maps, scores = engine.infer(pictures(2, SIZE))
    assert maps.dtype == scores.dtype == np.float32
    assert np.isfinite(maps).all()
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_comes_before_the_backbone_and_after_the_cosines_is_float32(
    precision, inspectors
) -> None:
    model = parsed(inspectors[precision])
    kinds = types(model)
    preprocessing = [node for node in model.graph.node if node.name.startswith("pre/")]
    outputs = {n.output[0] for n in preprocessing if n.name != "pre/half"}
    assert len(outputs) == 5
    assert {kinds[name] for name in outputs} <= {TensorProto.UINT8, TensorProto.FLOAT}
    assert all(kinds[n.output[0]] == TensorProto.FLOAT for n in preprocessing[:5])
    # Half precision ends with the maximum over the prototypes: all that reads it is float32.
    allowed = (
        "/product_0",
        "/product_0_up",
        "_half",
        "head/products_0_1",
        "head/products_0_2",
        "head/max_0",
    )
    head = [node for node in model.graph.node if node.name.startswith("head/")]
    for node in head:
        if not node.name.endswith(allowed):
            assert kinds[node.output[0]] == TensorProto.FLOAT, node.name
    closest = kinds["head/max_0"]
    assert closest == (TensorProto.FLOAT if precision == "fp32" else TensorProto.FLOAT16)
    assert {kinds[output.name] for output in model.graph.output} == {TensorProto.FLOAT}


def test_fp16_has_no_float32_convolution(inspectors) -> None:
    model = parsed(inspectors["fp16"])
    kinds = types(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 15
    for node in convolutions:
        assert {kinds[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}


def scales_and_zeros(model: onnx.ModelProto):
    """(node, scale, zero point) of every Q and DQ."""
    stored = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield node, stored[node.input[1]], stored[node.input[2]]


def test_int8_is_symmetric_per_channel_and_leaves_stem_and_biases_alone(features) -> None:
    model = parsed(features["int8"].model)
    graph = model.graph
    kinds = types(model)
    stored = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    dequantised = {n.output[0]: n for n in graph.node if n.op_type == "DequantizeLinear"}
    for node, scale, zero in scales_and_zeros(model):
        assert scale.dtype == np.float32, node.name
        assert (scale > 0).all() and np.isfinite(scale).all(), node.name
        assert zero.dtype == np.int8 and not zero.any(), node.name
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    quantised = [node for node in convolutions if node.input[1] in dequantised]
    wide = [n for n in convolutions[1:] if n in quantised or stored[n.input[1]].shape[1] >= 32]
    assert MIN_CHANNELS == 32
    assert quantised == wide
    assert len(quantised) >= len(convolutions) - 2
    for node in quantised:
        weight = dequantised[node.input[1]]
        kernels = stored[weight.input[0]]
        assert kernels.dtype == np.int8
        assert stored[weight.input[1]].shape == (len(kernels),), "one scale per output channel"
        assert {a.name: a.i for a in weight.attribute}["axis"] == 0
        source = dequantised[node.input[0]]
        assert stored[source.input[1]].ndim == 0, "one scale per tensor"
        for bias in node.input[2:]:
            assert kinds[bias] == TensorProto.FLOAT
    # The image itself is not quantised: its convolution runs in half precision.
    stem = convolutions[0]
    assert stem.input[1] in stored
    assert {kinds[name] for name in (*stem.input, *stem.output)} == {TensorProto.FLOAT16}


def test_rounding_before_a_maximum_gives_what_rounding_behind_it_gives(
    graph, pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = []
    for moved in (True, False):
        if not moved:
            monkeypatch.setattr(quantise_module, "_round_before_maxima", lambda graph: None)
        model = converted(graph, "int8", calibration=[pictures(2, SIZE)]).model
        nodes = parsed(model).graph.node
        (pool,) = [node for node in nodes if node.op_type == "MaxPool"]
        (source,) = [node for node in nodes if pool.input[0] in node.output]
        assert (source.op_type == "DequantizeLinear") == moved
        with OnnxRuntimeEngine(model, precision="int8") as engine:
            outputs.append(engine.infer(pictures(3, SIZE)))
    for first, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(first, other, rtol=0, atol=1e-3 * np.abs(other).max())


def test_int8_without_an_image_is_refused(graph) -> None:
    for none in ([], [np.empty((0, *SIZE, 3), np.uint8)]):
        with pytest.raises(PrecisionError, match="int8 needs good images"):
            converted(graph, "int8", calibration=none)


def test_int8_measures_every_image_it_is_given(graph, pictures) -> None:
    """A brighter image in the last batch must widen the ranges."""
    dim = pictures(2, SIZE) // 8
    given = {"dim": [dim], "both": [dim, pictures(1, SIZE)]}
    largest = {
        name: max(
            float(scale)
            for _, scale, _ in scales_and_zeros(
                parsed(converted(graph, "int8", calibration=batches).model)
            )
            if scale.ndim == 0
        )
        for name, batches in given.items()
    }
    assert largest["both"] > 1.5 * largest["dim"]


def test_half_precision_stays_near(features, pictures) -> None:
    """Casts alone change features by rounding; 8 bits by a few per cent of their length."""
    images = pictures(2, SIZE)
    found = {}
    for name, given in features.items():
        with OnnxRuntimeEngine(given.model, precision=name) as engine:
            found[name] = [np.asarray(output, np.float32) for output in engine.infer(images)]
    for name, most in (("fp16", 0.005), ("int8", 0.15)):
        for exact, near in zip(found["fp32"], found[name], strict=True):
            assert np.linalg.norm(near - exact) < most * np.linalg.norm(exact)
            assert not np.array_equal(near, exact)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_executes_the_precision_of_the_graph(precision, inspectors) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from engines.plans.compile import compile_plan

    model = parsed(inspectors[precision])
    names = [n.name for n in model.graph.node if n.op_type == "Conv"]
    dequantised = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    eight = {n.name for n in model.graph.node if n.op_type == "Conv" and n.input[1] in dequantised}
    layers = compile_plan(inspectors[precision]).layers
    convolutions = [layer for layer in layers if layer.kind == "convolution"]
    executed = {
        node: layer.precision for layer in convolutions for node in layer.nodes if node in names
    }
    assert len(convolutions) == len(names)
    rest = "fp32" if precision == "fp32" else "fp16"
    wrong = {
        name: executed.get(name)
        for name in names
        if executed.get(name) != ("int8" if name in eight else rest)
    }
    assert not wrong
    head = [name for name in names if name.startswith("head/")]
    assert len(head) in (2, 3), "one convolution a stage"
    if precision == "int8":
        stem = len(names) - len(eight) - len(head)
        assert stem in (1, 2), "the image's convolution stays, and a narrow one behind it"
    else:
        assert not eight
    assert not eight & set(head)
    head = {"head/distance", "head/tall", "head/smooth", "head/anomaly_map"}
    tail = [layer for layer in layers if head & set(layer.nodes)]
    assert tail
    assert all(set(layer.outputs) == {"fp32"} for layer in tail)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_dead_channel_compiles(precision, small_backbone, pictures, directions) -> None:
    """Channels whose weights are all 0 would be given the scale 0, which TensorRT refuses."""
    given = small_backbone().backbone
    model = parsed(given.model)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).copy()
        values[:2] = 0
        values[2:4] *= 1e-30  # as good as dead: its scale must not vanish either
        if weight.name.startswith("bias"):
            values[:2] = -1
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    dead = replace(given, model=model.SerializeToString())
    size = (64, 64)
    graph = features_graph(dead, size=size, layers=("layer2", "layer3"))
    black = np.zeros((1, *size, 3), np.uint8)
    graph = converted(graph, precision, calibration=[black])
    for node, scale, _ in scales_and_zeros(parsed(graph.model)):
        assert (scale >= 1e-8).all(), node.name
    inspector = inspector_graph(graph, directions(8, graph.dimensions), precision=precision)
    with OnnxRuntimeEngine(inspector, precision=precision) as engine:
        assert all(np.isfinite(output).all() for output in engine.infer(pictures(1, size)))
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from engines.plans.compile import compile_plan
    from engines.plans.layers import executes

    plan = compile_plan(inspector)
    assert executes(plan.layers) == {"int8": "int8+fp16"}.get(precision, precision)


def wide_range() -> bytes:
    """A convolution of what spans 17 powers of ten: (image / 128)^8."""
    random = np.random.default_rng(0)
    constants = {
        "pre/scale": np.float32(1 / 128),
        "first": random.uniform(0.2, 0.4, (MIN_CHANNELS, 3, 1, 1)).astype(np.float32),
        "second": random.normal(size=(8, MIN_CHANNELS, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], "pre/float", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "pre/planes", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "pre/scale"], ["scaled"], "pre/scaled"),
        helper.make_node("Conv", ["scaled", "first"], ["power1"], "one"),
        *(helper.make_node("Mul", [f"power{n}"] * 2, [f"power{2 * n}"]) for n in (1, 2, 4)),
        helper.make_node("Conv", ["power8", "second"], ["maps"], "two", pads=[1] * 4),
    ]
    whole = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 8, 8, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_first_image_that_is_all_but_nothing_does_not_set_the_ranges() -> None:
    """Bins as fine as that image's would take more memory than there is."""
    images = [np.full((1, 8, 8, 3), level, np.uint8) for level in (1, *range(140, 250, 10))]
    quantised = onnx.load_model_from_string(
        Conversion(wide_range(), "int8", calibration=images).model()
    )
    constants = {weight.name: weight for weight in quantised.graph.initializer}
    scale = float(numpy_helper.to_array(constants["power8_scale"]))
    first = np.random.default_rng(0).uniform(0.2, 0.4, (MIN_CHANNELS, 3))
    largest = (first.sum(axis=1).max() * 200 / 128) ** 8  # eight images are used, up to 200
    assert scale * 127 == pytest.approx(largest, rel=0.02)
