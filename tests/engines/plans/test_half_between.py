"""What lies between two half-precision convolutions of an int8 graph stays in half precision."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from random_weights import resnet18

from calibrate.backbones.features_graph import features_graph
from calibrate.precision.convert import Conversion
from calibrate.precision.sensitivity import blocks_of
from engines.plans.half_between import graph_with_half_between

IMAGES = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    model = features_graph(resnet18(), size=(64, 64), layers=("layer2", "layer3")).model
    return Conversion(model, "int8", calibration=[IMAGES])


def kept(conversion: Conversion) -> bytes:
    """With the first stage's second block and the second stage's first one in fp16."""
    nodes = {name for block in blocks_of(conversion.fp32)[1:3] for name in block.nodes}
    return conversion.model(dict.fromkeys(nodes & conversion.quantised, "fp16"))


def casts(model: bytes) -> int:
    return sum(node.op_type == "Cast" for node in onnx.load_model_from_string(model).graph.node)


@pytest.mark.parametrize("higher", [False, True])
def test_it_gives_the_same(higher, conversion) -> None:
    model = kept(conversion) if higher else conversion.model()
    moved = graph_with_half_between(model)
    onnx.checker.check_model(onnx.load_model_from_string(moved), full_check=True)
    first, second = (
        onnxruntime.InferenceSession(m, providers=["CPUExecutionProvider"]).run(
            None, {"image": IMAGES[:1]}
        )
        for m in (model, moved)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3 * np.abs(one).max())


def test_nothing_between_kept_convolutions_is_cast(conversion) -> None:
    model = kept(conversion)
    moved = onnx.load_model_from_string(graph_with_half_between(model)).graph
    makers = {name: node for node in moved.node for name in node.output}
    half = [
        node for node in moved.node if node.op_type == "Conv" and node.input[1].endswith("/half")
    ]
    assert len(half) == 6, "the stem and those that were kept"
    assert sum(makers[node.input[0]].op_type == "Relu" for node in half) == 2, "within blocks"
    assert len(moved.node) < len(onnx.load_model_from_string(model).graph.node)
    assert casts(graph_with_half_between(model)) < casts(model)


def test_what_is_exact_or_has_no_pairs_stays(conversion) -> None:
    half = Conversion(conversion.fp32, "fp16").model()
    assert graph_with_half_between(half) is half
    assert graph_with_half_between(b"rubbish") == b"rubbish"
    block = blocks_of(conversion.fp32)[1]
    exact = conversion.model(dict.fromkeys(block.nodes, "fp32"))
    names = {n.name for n in onnx.load_model_from_string(exact).graph.node if "exact/" in n.name}
    moved = onnx.load_model_from_string(graph_with_half_between(exact)).graph
    assert names and names <= {node.name for node in moved.node}
    types = onnx.shape_inference.infer_shapes(
        onnx.load_model_from_string(graph_with_half_between(exact))
    ).graph.value_info
    of = {value.name: value.type.tensor_type.elem_type for value in types}
    outputs = [node.output[0] for node in moved.node if node.name in names]
    assert {of[name] for name in outputs if name in of} == {onnx.TensorProto.FLOAT}
