"""The mean of the highest values as ONNX nodes: how both methods make a score of a map."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.engine import EXACT


def output_mean_of_highest(
    model: onnx.ModelProto, name: str, source: str, count: int, *, batch: int
) -> None:
    """Make the mean of the highest values of each row an output: (N, M) to (N,).

    In float32 at every precision, as the nodes' names say. TensorRT takes at most 3 840 of a row.

    Args:
        model: extended in place; its opset stays.
        name: of the output.
        source: float32 (N, M).
        count: how many of a row, at most M.
        batch: N.
    """
    graph = model.graph
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    highest, places = f"{EXACT}{name}/highest", f"{EXACT}{name}/places"
    many, axes = f"{name}/count", f"{name}/axes"
    graph.initializer.append(numpy_helper.from_array(np.array([count], np.int64), many))
    graph.node.append(
        helper.make_node("TopK", [source, many], [highest, places], highest, axis=1, sorted=0)
    )
    mean = helper.make_node("ReduceMean", [highest], [name], f"{EXACT}{name}", keepdims=0)
    if opset < 18:
        mean.attribute.append(helper.make_attribute("axes", [1]))
    else:  # from there on the axes are an input
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), axes))
        mean.input.append(axes)
    graph.node.append(mean)
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch]))
