"""A score as ONNX nodes: how both methods make it of their map."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.engine import EXACT
from engines.score_rule import ScoreRule


def output_score(
    model: onnx.ModelProto, name: str, source: str, rule: ScoreRule, *, batch: int
) -> None:
    """Make the score of each row an output: (N, M) to (N,).

    The highest values in descending order, times a matrix that takes a mean for each term and
    brings it to its unit; the highest of the terms. In float32 at every precision, as the nodes'
    names say. TensorRT takes at most 3 840 values of a row.

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
    weights = np.zeros((most, len(rule.terms)), np.float32)
    for index, term in enumerate(rule.terms):
        weights[: term.count, index] = term.gain / term.count
    offsets = np.array([term.offset for term in rule.terms], np.float32)
    highest, means, terms = (f"{EXACT}{name}/{part}" for part in ("highest", "means", "terms"))
    count, matrix, shift, axes = (
        f"{name}/{part}" for part in ("count", "means", "offsets", "axes")
    )
    largest = helper.make_node("ReduceMax", [terms], [name], f"{EXACT}{name}", keepdims=0)
    if opset < 18:
        largest.attribute.append(helper.make_attribute("axes", [1]))
    else:  # from there on the axes are an input
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), axes))
        largest.input.append(axes)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([most], np.int64), count),
            numpy_helper.from_array(weights, matrix),
            numpy_helper.from_array(offsets, shift),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("TopK", [source, count], [highest, f"{highest}/at"], highest, axis=1),
            helper.make_node("MatMul", [highest, matrix], [means], means),
            helper.make_node("Add", [means, shift], [terms], terms),
            largest,
        ]
    )
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch]))
