"""A graph whose maxima over channels are taken in two steps: ONNX Runtime's own take their time.

The maximum over thousands of prototypes is half of ONNX Runtime's work on an inspector, because
its `ReduceMax` over channels goes number by number. Its pooling of rows does not, and the maximum
of maxima is the same number to the last bit. Other engines take the graph as it is.

    ReduceMax       becomes   Reshape ────── MaxPool ──────────── MaxPool ────── Reshape
    (N, C, h, w)              (N, 1, C, h·w) (N, 1, ⌈C/32⌉, h·w)  (N, 1, 1, h·w) (N, 1, h, w)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper, shape_inference

ROWS = 32  # channels in the first step: one step for all of them is as slow as ReduceMax (measured)
CHANNELS = 1  # axis
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def graph_with_pooled_maxima(model: bytes) -> bytes:
    """Take maxima over channels in two steps; a graph without any is given back as it is.

    Args:
        model: serialised ONNX. A maximum over the channels of (N, C, h, w) is rewritten if C, h
            and w are known and C is above `ROWS`; N may be open.
    """
    try:
        parsed = onnx.load_model_from_string(model)
        known = shape_inference.infer_shapes(parsed).graph
    except (DecodeError, shape_inference.InferenceError):
        return model  # ONNX Runtime says what is wrong with it
    graph = parsed.graph
    types = {value.name: value.type.tensor_type for value in known.value_info}
    axes = {one.name: one for one in graph.initializer if one.data_type == TensorProto.INT64}
    nodes = list[onnx.NodeProto]()
    for node in graph.node:
        found = types.get(node.input[0]) if _is_over_channels(node, axes) else None
        channels, height, width = _plane(found) if found is not None else (0, 0, 0)
        if channels <= ROWS or not height * width:
            nodes.append(node)
            continue
        nodes += _pooled(node, channels)
        graph.initializer.append(_shape(f"{node.name}/rows", (0, 1, channels, height * width)))
        graph.initializer.append(_shape(f"{node.name}/plane", (0, 1, height, width)))
    if len(nodes) == len(graph.node):
        return model
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(parsed.SerializeToString())


def _is_over_channels(node: onnx.NodeProto, axes: dict[str, onnx.TensorProto]) -> bool:
    """Whether it is a maximum over the channels alone, which keeps their axis."""
    if node.op_type != "ReduceMax":
        return False
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if len(node.input) > 1:  # from opset 18 on
        stored = axes.get(node.input[1])
        given["axes"] = [] if stored is None else numpy_helper.to_array(stored).tolist()
    return list(given.get("axes", ())) == [CHANNELS] and given.get("keepdims", 1) == 1


def _plane(tensor: onnx.TypeProto.Tensor) -> tuple[int, int, int]:
    """C, h and w of (N, C, h, w) floats; 0 for what is not known, and for all of another type."""
    sizes = [dim.dim_value for dim in tensor.shape.dim]
    if len(sizes) != 4 or tensor.elem_type not in FLOATS:
        return 0, 0, 0
    return sizes[1], sizes[2], sizes[3]


def _pooled(node: onnx.NodeProto, channels: int) -> Iterator[onnx.NodeProto]:
    """The nodes in place of a maximum; the last one has its name."""
    name, source, target = node.name, node.input[0], node.output[0]
    rows, some, one = f"{name}/as_rows", f"{name}/some", f"{name}/one"
    left = math.ceil(channels / ROWS)
    yield helper.make_node("Reshape", [source, f"{name}/rows"], [rows], name=rows)
    for before, after, height in ((rows, some, ROWS), (some, one, left)):
        # Rows that are not there, at the end, are left out and not counted as 0.
        yield helper.make_node(
            "MaxPool",
            [before],
            [after],
            name=after,
            kernel_shape=[height, 1],
            strides=[height, 1],
            ceil_mode=1,
        )
    yield helper.make_node("Reshape", [one, f"{name}/plane"], [target], name=name)


def _shape(name: str, sizes: tuple[int, ...]) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(sizes)], sizes)
