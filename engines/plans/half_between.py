"""An int8 graph that stays in half precision between what it computes in half precision.

A convolution that is not quantised stands between two casts, and all between two of those would be
written in float32. Here casts move behind a ReLU and a maximum, which give what they read, and so
the same to the last bit; behind a sum of halves and an average that is read in half, which are
then rounded as in a build in fp16.

    Conv ─ Cast ─ Relu ─ Q               becomes    Conv ─ Relu ─ Cast ─ Q
    Conv ─ Cast ─ Relu ─ Cast ─ Conv     becomes    Conv ─ Relu ─ Conv
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, shape_inference

from engines.engine import EXACT

_MOVED = ("Relu", "MaxPool", "Add", "AveragePool")


def graph_with_half_between(model: bytes) -> bytes:
    """Move casts out of the way; a graph without Q/DQ pairs is given back as it is.

    Args:
        model: serialised ONNX.
    """
    try:
        parsed = onnx.load_model_from_string(model)
        if not any(node.op_type == "QuantizeLinear" for node in parsed.graph.node):
            return model
        known = shape_inference.infer_shapes(parsed).graph
    except (DecodeError, shape_inference.InferenceError):
        return model  # TensorRT's parser says what is wrong with it
    moving = _Moving(known)
    for node in parsed.graph.node:
        moving.place(node)
    nodes = _used_nodes(moving.nodes, {output.name for output in parsed.graph.output})
    used = {name for node in nodes for name in node.input}
    stored = [weight for weight in parsed.graph.initializer if weight.name in used]
    del parsed.graph.node[:], parsed.graph.value_info[:], parsed.graph.initializer[:]
    parsed.graph.node.extend(nodes)
    parsed.graph.initializer.extend(stored)
    return bytes(parsed.SerializeToString())


class _Moving:
    """Takes nodes in their order and writes what stands for them.

    Attributes:
        nodes: so far; of the casts, some that nobody reads.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._halves: dict[str, str] = {}  # by float32 values: what they are copies of
        self._renamed: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []

    def place(self, given: onnx.NodeProto) -> None:
        """Write a node, in half precision where that is where it belongs."""
        node = onnx.NodeProto.FromString(given.SerializeToString())
        for position, name in enumerate(node.input):
            node.input[position] = self._renamed.get(name, name)
        if node.op_type == "Cast" and node.input[0] in self._halves and _is_to_half(node):
            self._renamed[node.output[0]] = self._halves[node.input[0]]
            return
        sources = None if node.name.startswith(EXACT) else self._halves_for(node)
        if sources is not None:
            node.input[:] = sources
            self._halves[node.output[0]] = f"{node.output[0]}/kept_half"
            node.output[0] = f"{given.output[0]}/kept_half"
            cast = [node.output[0]], [given.output[0]]
            self.nodes += [node, helper.make_node("Cast", *cast, to=TensorProto.FLOAT)]
            return
        if node.op_type == "Cast" and self._types.get(node.input[0]) == TensorProto.FLOAT16:
            self._halves[node.output[0]] = node.input[0]
        self.nodes.append(node)

    def _halves_for(self, node: onnx.NodeProto) -> list[str] | None:
        """What a node reads in half precision, or None if it is to stay in float32."""
        if node.op_type not in _MOVED:
            return None
        found = [self._halves.get(name) for name in node.input]
        if node.op_type == "AveragePool" and found == [None] and self._is_read_in_half(node):
            rounded = f"{node.input[0]}/rounded_to_half"
            cast = [node.input[0]], [rounded]
            self.nodes.append(helper.make_node("Cast", *cast, to=TensorProto.FLOAT16))
            found = [rounded]
        sources = [name for name in found if name is not None]
        return sources if len(sources) == len(node.input) else None

    def _is_read_in_half(self, node: onnx.NodeProto) -> bool:
        readers = self._readers.get(node.output[0], [])
        return any(reader.op_type == "Cast" and _is_to_half(reader) for reader in readers)


def _is_to_half(cast: onnx.NodeProto) -> bool:
    return bool(cast.attribute[0].i == TensorProto.FLOAT16)


def _used_nodes(nodes: Iterable[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """Without those that nothing reads."""
    used = set(wanted)
    found = []
    for node in reversed(list(nodes)):
        if used.intersection(node.output):
            used.update(node.input)
            found.append(node)
    return found[::-1]
