"""A graph without FP32 matrix products: TensorRT-RTX has none for Turing, but has convolutions.

A product with a constant is a 1x1 convolution whose channels are the axis that is summed over. The
arithmetic is the same; only the order of the sums may differ.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

TURING = "sm75"


def graph_for_turing(model: bytes) -> bytes:
    """Write FP32 products of a plane with a constant as convolutions; all else is as it was.

    Args:
        model: serialised ONNX, static shapes but for the number of images. A product is rewritten
            if one side is a stored matrix and the other (N, 1, rows, columns).
    """
    graph = onnx.load_model_from_string(model)
    known = shape_inference.infer_shapes(graph).graph
    lowering = _Lowering(graph.graph, known)
    nodes = [new for node in graph.graph.node for new in lowering.of(node)]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [weight for weight in graph.graph.initializer if weight.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend([*kept, *lowering.made])
    return bytes(graph.SerializeToString())


class _Lowering:
    def __init__(self, graph: onnx.GraphProto, known: onnx.GraphProto) -> None:
        self._constants = {
            weight.name: weight
            for weight in graph.initializer
            if weight.data_type == TensorProto.FLOAT and len(weight.dims) == 2
        }
        self._shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*known.input, *known.value_info, *known.output)
        }
        self.made: list[onnx.TensorProto] = []

    def of(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes in place of one; the convolution has its name."""
        if node.op_type != "MatMul":
            return [node]
        first, second = node.input
        if first in self._constants and self._is_plane(second):
            return self._over_rows(node, numpy_helper.to_array(self._constants[first]))
        if second in self._constants and self._is_plane(first):
            return self._over_columns(node, numpy_helper.to_array(self._constants[second]))
        return [node]

    def _is_plane(self, name: str) -> bool:
        shape = self._shapes.get(name, [])
        return len(shape) == 4 and shape[1] == 1 and all(length > 0 for length in shape[1:])

    def _over_rows(
        self, node: onnx.NodeProto, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> list[onnx.NodeProto]:
        """Matrix @ plane: the plane's rows become channels, which moves nothing in memory."""
        name, source, target = node.name, node.input[1], node.output[0]
        # Of any number of images it is 0, which in a shape keeps the size that is read.
        count, _, rows, columns = self._shapes[source]
        weight = self._constant(f"{name}/kernel", matrix[:, :, None, None])
        before = self._constant(f"{name}/rows", np.array([count, rows, 1, columns], np.int64))
        shape = np.array([count, 1, matrix.shape[0], columns], np.int64)
        after = self._constant(f"{name}/plane", shape)
        channels, product = f"{name}/channels", f"{name}/product"
        return [
            helper.make_node("Reshape", [source, before], [channels], name=f"{name}/before"),
            helper.make_node("Conv", [channels, weight], [product], name=name, kernel_shape=[1, 1]),
            helper.make_node("Reshape", [product, after], [target], name=f"{name}/after"),
        ]

    def _over_columns(
        self, node: onnx.NodeProto, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> list[onnx.NodeProto]:
        """Plane @ matrix: the plane's columns become channels, and back."""
        name, source, target = node.name, node.input[0], node.output[0]
        kernel = np.ascontiguousarray(matrix.T)[:, :, None, None]
        weight = self._constant(f"{name}/kernel", kernel)
        channels, product = f"{name}/channels", f"{name}/product"
        turn = [0, 3, 2, 1]  # (N, 1, rows, columns) to (N, columns, rows, 1), and back again
        return [
            helper.make_node("Transpose", [source], [channels], name=f"{name}/before", perm=turn),
            helper.make_node("Conv", [channels, weight], [product], name=name, kernel_shape=[1, 1]),
            helper.make_node("Transpose", [product], [target], name=f"{name}/after", perm=turn),
        ]

    def _constant(self, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        self.made.append(numpy_helper.from_array(value, name))
        return name
