"""Arithmetic and traffic counted from a graph, against what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from graph_costs import costs_from_onnx
from onnx import TensorProto, helper, numpy_helper


def model(nodes, constants, *, taken, given) -> bytes:
    def info(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "graph",
        [info("x", taken)],
        [info("y", given)],
        [numpy_helper.from_array(np.zeros(shape, np.float32), n) for n, shape in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("kind", "attributes", "weights", "taken", "given", "flop"),
    [
        ("Conv", {"pads": [1, 1, 1, 1]}, (8, 4, 3, 3), (1, 4, 10, 6), (1, 8, 10, 6), 34_560),
        ("Conv", {"strides": [2, 2]}, (8, 4, 2, 2), (1, 4, 10, 6), (1, 8, 5, 3), 3_840),
        ("Conv", {"group": 4}, (4, 1, 1, 1), (1, 4, 10, 6), (1, 4, 10, 6), 480),
        ("ConvTranspose", {"strides": [2, 2]}, (4, 8, 2, 2), (1, 4, 5, 3), (1, 8, 10, 6), 3_840),
        ("MatMul", {}, (6, 7), (3, 5, 6), (3, 5, 7), 1_260),
        ("Gemm", {"transA": 1}, (6, 7), (6, 5), (5, 7), 420),
    ],
)
def test_a_products_cost(kind, attributes, weights, taken, given, flop) -> None:
    nodes = [helper.make_node(kind, ["x", "w"], ["y"], name="product", **attributes)]
    (cost,) = costs_from_onnx(model(nodes, {"w": weights}, taken=taken, given=given))
    assert (cost.node, cost.flop, cost.rounded) == ("product", flop, False)
    assert cost.numbers == np.prod(taken) + np.prod(weights) + np.prod(given)


@pytest.mark.parametrize(("precision", "rounded"), [("fp32", 0), ("fp16", 0), ("int8", 1)])
def test_every_precision_of_a_graph_costs_the_same(precision, rounded, inspector_graph) -> None:
    costs = costs_from_onnx(inspector_graph(precision))
    assert sum(cost.flop for cost in costs) == sum(
        cost.flop for cost in costs_from_onnx(inspector_graph("fp32"))
    )
    assert any(cost.rounded for cost in costs) == bool(rounded)
    assert all(cost.flop > 0 for cost in costs)
