"""A score as ONNX nodes: how both methods make it of their map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.engine import EXACT
from engines.score_rule import ScoreRule


def output_score(
    model: onnx.ModelProto, name: str, source: str, rule: ScoreRule, *, batch: int
) -> None:
    """Make the score of each row an output: (N, M) to (N,).

    The highest values in descending order, times a row of weights for each term that takes its
    mean and brings it to its unit; the highest of the terms. In float32 at every precision, as the
    nodes' names say; a product and a sum, because OpenVINO computes a MatMul of this kind in bf16
    whatever it is told; and of four axes, because it adds wrongly to the sums of several rows of
    two (2026.4). TensorRT takes at most 3 840 values of a row.

    Args:
        model: extended in place; its opset stays.
        name: of the output.
        source: float32 (N, M), the values that the rule looks at.
        rule: how they become a score.
        batch: N.
    """
    graph = model.graph
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    most = max(rule.counts)
    weights = np.zeros((1, len(rule.terms), 1, most), np.float32)
    for index, term in enumerate(rule.terms):
        weights[0, index, 0, : term.count] = term.gain / term.count
    offsets = np.array([term.offset for term in rule.terms], np.float32).reshape(1, -1, 1, 1)
    parts = ("highest", "row", "weighed", "means", "terms")
    highest, row, weighed, means, terms = (f"{EXACT}{name}/{part}" for part in parts)

    def constant(part: str, value: npt.NDArray[np.generic]) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{name}/{part}"))
        return f"{name}/{part}"

    def reduce(
        kind: str, source: str, target: str, axes: list[int], *, keepdims: int
    ) -> onnx.NodeProto:
        label = target if target.startswith(EXACT) else f"{EXACT}{target}"
        if opset < 18 and kind == "ReduceMax":  # later the axes are an input
            return helper.make_node(kind, [source], [target], label, axes=axes, keepdims=keepdims)
        given = constant(f"{kind}_axes", np.array(axes, np.int64))
        return helper.make_node(kind, [source, given], [target], label, keepdims=keepdims)

    count = constant("count", np.array([most], np.int64))
    shape = constant("shape", np.array([batch, 1, 1, most], np.int64))
    graph.node.extend(
        [
            helper.make_node("TopK", [source, count], [highest, f"{highest}/at"], highest, axis=1),
            helper.make_node("Reshape", [highest, shape], [row], row),
            helper.make_node("Mul", [row, constant("weights", weights)], [weighed], weighed),
            reduce("ReduceSum", weighed, means, [3], keepdims=1),
            helper.make_node("Add", [means, constant("offsets", offsets)], [terms], terms),
            reduce("ReduceMax", terms, name, [1, 2, 3], keepdims=0),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch]))
