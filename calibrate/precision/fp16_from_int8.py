"""The fp16 graph that does what an int8 graph does: to know what int8 costs and saves."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from calibrate.node_names import HEAD, PREPROCESSING
from calibrate.precision.convert import Halving
from engines.engine import EXACT

_PAIR = ("QuantizeLinear", "DequantizeLinear")


def fp16_from_int8(model: bytes) -> bytes:
    """Take an int8 graph's rounding away and compute in half precision instead.

    Head, preprocessing and what is exact stay as they are, so the graph is that of a build in fp16,
    with the weights that int8 rounded.

    Args:
        model: serialised ONNX, static shapes; without a Q/DQ pair it is given back with its
            convolutions in half precision all the same.
    """
    graph = onnx.load_model_from_string(model)
    take_rounding_away(graph.graph)
    del graph.graph.value_info[:]
    whole = shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True)
    Halving(whole.graph, as_it_is=(HEAD,)).convert()
    return bytes(whole.SerializeToString())


def take_rounding_away(graph: onnx.GraphProto) -> None:
    """Bypass pairs and changes of type, and store the weights as float32."""
    stored = {weight.name: weight for weight in graph.initializer}
    source: dict[str, str] = {}
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = source.get(name, name)
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            weights.append(_dequantised(node, stored))
        elif node.op_type in _PAIR or _changes_type(node):
            source[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [weight for weight in (*graph.initializer, *weights) if weight.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _changes_type(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and not node.name.startswith((HEAD, PREPROCESSING, EXACT))


def _dequantised(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> onnx.TensorProto:
    numbers, scale = (numpy_helper.to_array(stored[name]) for name in node.input[:2])
    rows = scale.reshape(-1, *[1] * (numbers.ndim - 1)) if scale.ndim else scale
    return numpy_helper.from_array((numbers * rows).astype(np.float32), node.output[0])
