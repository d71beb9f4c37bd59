"""Maxima in two steps are the same numbers, whatever the shape, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from engines.cpu.pooled_maxima import graph_with_pooled_maxima


def maximum(
    shape: tuple[int | str, ...], *, opset: int, axes: tuple[int, ...] = (1,), keepdims: int = 1
) -> bytes:
    """A graph that is one ReduceMax of what it adds to nothing."""
    taken = ["sum"] if opset < 18 else ["sum", "axes"]
    given = {"axes": list(axes)} if opset < 18 else {}
    nodes = [
        helper.make_node("Add", ["x", "nothing"], ["sum"], name="sum"),
        helper.make_node("ReduceMax", taken, ["y"], name="largest", keepdims=keepdims, **given),
    ]
    constants = [helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0])]
    if opset >= 18:
        constants.append(helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return bytes(model.SerializeToString())


def run(model: bytes, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0]


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


@settings(max_examples=40)
@given(
    channels=st.integers(33, 2_100),
    plane=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    images=st.integers(1, 3),
    opset=st.sampled_from([13, 17, 18]),
    seed=st.integers(0, 99),
)
def test_the_values_are_the_same(channels, plane, images, opset, seed) -> None:
    model = maximum(("N", channels, *plane), opset=opset)
    pooled = graph_with_pooled_maxima(model)
    assert kinds(pooled) == ["Add", "Reshape", "MaxPool", "MaxPool", "Reshape"]
    values = np.random.default_rng(seed).normal(-5, 1, (images, channels, *plane))  # below 0: all
    found, wanted = (run(one, values.astype(np.float32)) for one in (pooled, model))
    assert found.shape == (images, 1, *plane)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "model",
    [
        maximum((1, 32, 4, 4), opset=17),  # one step is enough
        maximum((1, 64, 4, 4), opset=17, axes=(1, 2)),
        maximum((1, 64, 4, 4), opset=18, axes=(2,)),
        maximum((1, 64, 4, 4), opset=17, keepdims=0),
        maximum((1, "C", 4, 4), opset=17),
        maximum((1, 64, "h", 4), opset=18),
        maximum((1, 64, 4), opset=17),
        b"no graph",
    ],
)
def test_others_stay_as_they_are(model) -> None:
    assert graph_with_pooled_maxima(model) == model


def test_what_is_no_number_makes_no_part_good() -> None:
    """A part whose products are no numbers may be far from good, never near."""
    model = graph_with_pooled_maxima(maximum((1, 64, 1, 1), opset=17))
    values = np.full((1, 64, 1, 1), np.nan, np.float32)
    largest = run(model, values).item()
    assert np.isnan(largest) or largest < -1
