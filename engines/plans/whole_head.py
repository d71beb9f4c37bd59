"""A graph whose prototypes are compared at once instead of in blocks: quicker where a GPU runs it.

A CPU compares blocks of prototypes, whose products stay in its cache. On a GPU each block is
written and read again, a kernel for each step. Here the blocks become one: a product for all
prototypes, the coarse stages' added where they stand instead of being repeated first, one maximum.
The same numbers are added in the same order, so the values are the same to the last bit.

    Conv ──────────────┐                             Conv ─ Reshape ──────┐
    Conv ─ Resize ─── Add ─ ReduceMax ┐    becomes   Conv ─ Reshape ──── Add ─ Reshape ─ ReduceMax
           for each block            Max
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper, numpy_helper, shape_inference

MAX_PRODUCT = 64 << 20
"""Products of all prototypes with an image, above which the blocks stay: they take memory."""


def graph_with_whole_head(model: bytes) -> bytes:
    """Compare all prototypes at once; a graph that has no blocks of them is given back as it is.

    Args:
        model: serialised ONNX, static shapes but for the number of images.
    """
    try:
        parsed = onnx.load_model_from_string(model)
        known = shape_inference.infer_shapes(parsed).graph
    except (DecodeError, shape_inference.InferenceError):
        return model  # TensorRT's parser says what is wrong with it
    blocks = _Blocks(parsed.graph, known)
    for node in parsed.graph.node:
        found = blocks.find(node)
        if found is not None and blocks.size_of(found) <= MAX_PRODUCT:
            _replace(parsed.graph, node, found, shapes=blocks.shapes)
            return bytes(parsed.SerializeToString())
    return model


@dataclass(frozen=True, slots=True)
class _Products:
    """One stage's products, in all blocks.

    Attributes:
        products: the convolutions, in the blocks' order.
        times: how often each position is repeated, along either side.
    """

    products: tuple[onnx.NodeProto, ...]
    times: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What is compared in blocks.

    Attributes:
        stages: the finest one first, in the order in which they are added.
        maximum: over the prototypes, of the first block.
        spare: all nodes that go.
    """

    stages: tuple[_Products, ...]
    maximum: onnx.NodeProto
    spare: tuple[onnx.NodeProto, ...]


class _Blocks:
    def __init__(self, graph: onnx.GraphProto, known: onnx.GraphProto) -> None:
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._weights = {weight.name: weight for weight in graph.initializer}
        self.shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*known.input, *known.value_info, *known.output)
        }

    def find(self, node: onnx.NodeProto) -> _Found | None:
        """The blocks whose largest products a `Max` takes, or None if that isn't what it does."""
        if node.op_type != "Max":
            return None
        maxima = [self._made_by.get(name) for name in node.input]
        blocks = []
        spare: list[onnx.NodeProto] = [node]
        for maximum in maxima:
            if maximum is None or maximum.op_type != "ReduceMax":
                return None
            leaves = list(self._leaves(maximum.input[0], spare))
            if any(leaf is None for leaf in leaves):
                return None
            blocks.append([leaf for leaf in leaves if leaf is not None])
            spare.append(maximum)
        stages = [
            _Products(tuple(product for product, _ in column), column[0][1])
            for column in zip(*blocks, strict=False)
        ]
        if not _fit(stages, blocks):
            return None
        first = maxima[0]
        return _Found(tuple(stages), first, tuple(spare)) if first is not None else None

    def size_of(self, found: _Found) -> int:
        """How many products of the finest stage there are for an image."""
        products = found.stages[0].products
        return sum(prod(self.shapes[product.output[0]][1:]) for product in products)

    def _leaves(
        self, name: str, spare: list[onnx.NodeProto]
    ) -> Iterator[tuple[onnx.NodeProto, int] | None]:
        """The convolutions behind a sum, and how often each position of theirs is repeated."""
        node = self._made_by.get(name)
        if node is None:
            yield None
            return
        spare.append(node)
        if node.op_type == "Add":
            for part in node.input:
                yield from self._leaves(part, spare)
        elif node.op_type == "Resize":
            times = self._times(node)
            inner = self._made_by.get(node.input[0])
            if inner is None or inner.op_type != "Conv" or not times:
                yield None
                return
            spare.append(inner)
            yield inner, times
        else:
            plain = node.op_type == "Conv" and len(node.input) == 2
            yield (node, 1) if plain and self._is_pointwise(node) else None

    def _is_pointwise(self, node: onnx.NodeProto) -> bool:
        weight = self._weights.get(node.input[1])
        return weight is not None and list(weight.dims[2:]) == [1, 1]

    def _times(self, node: onnx.NodeProto) -> int:
        """By how much a `Resize` repeats whole positions; 0 if it does something else."""
        kinds = {item.name: item.s.decode() for item in node.attribute if item.s}
        repeats = kinds.get("mode") == "nearest" and kinds.get("nearest_mode") == "floor"
        if not repeats or kinds.get("coordinate_transformation_mode") != "asymmetric":
            return 0
        weight = self._weights.get(node.input[2]) if len(node.input) > 2 else None
        if weight is None:
            return 0
        _, _, rows, columns = numpy_helper.to_array(weight).tolist()
        return int(rows) if rows == columns and rows == int(rows) else 0


def _fit(stages: Sequence[_Products], blocks: Sequence[Sequence[object]]) -> bool:
    """Whether all blocks are of the same stages, of which the first is the finest."""
    if len(blocks) < 2 or len({len(block) for block in blocks}) != 1 or not stages:
        return False
    same = all(len({product.input[0] for product in stage.products}) == 1 for stage in stages)
    return same and stages[0].times == 1


def _replace(
    graph: onnx.GraphProto, end: onnx.NodeProto, found: _Found, *, shapes: dict[str, list[int]]
) -> None:
    """Put the whole comparison in the place of its blocks, and forget their weights."""
    whole = _Whole(graph, shapes)
    whole.compare(found, end)
    spare = {id(node) for node in found.spare}
    spare |= {id(product) for stage in found.stages for product in stage.products}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if id(node) == id(end):
            nodes += whole.nodes
        elif id(node) not in spare:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    used = {name for node in nodes for name in node.input}
    stored = [
        onnx.TensorProto.FromString(weight.SerializeToString())
        for weight in graph.initializer
        if weight.name in used
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend([*stored, *whole.constants])


class _Whole:
    """Writes the comparison with all prototypes at once.

    Attributes:
        nodes: in order.
        constants: that they read.
    """

    def __init__(self, graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
        self._weights = {weight.name: weight for weight in graph.initializer}
        self._shapes = shapes
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def compare(self, found: _Found, end: onnx.NodeProto) -> None:
        """Products, their sum and its largest, under the name of the blocks' end."""
        total, count = self._product(found.stages[0])
        # Of any number of images it is 0, which in a shape keeps the size that is read.
        batch, _, height, width = self._shapes[found.stages[0].products[0].output[0]]
        for stage in found.stages[1:]:
            name, _ = self._product(stage)
            times = stage.times
            if times > 1:
                rows, columns = height // times, width // times
                apart = [batch, count, rows, times, columns, times]
                total = self._reshape(total, apart, f"{name}_apart")
                name = self._reshape(name, [batch, count, rows, 1, columns, 1], f"{name}_one")
            added = f"{name}_sum"
            self.nodes.append(helper.make_node("Add", [total, name], [added], name=added))
            total = added
            if times > 1:
                total = self._reshape(added, [batch, count, height, width], f"{name}_together")
        inputs = [total, *found.maximum.input[1:]]
        largest = helper.make_node("ReduceMax", inputs, list(end.output), name=end.name)
        largest.attribute.extend(found.maximum.attribute)
        self.nodes.append(largest)

    def _product(self, stage: _Products) -> tuple[str, int]:
        """A stage's product with all prototypes, and how many those are; named as its first."""
        first = stage.products[0]
        kernels = [numpy_helper.to_array(self._weights[one.input[1]]) for one in stage.products]
        weight = self._constant(f"{first.input[1]}_whole", np.concatenate(kernels))
        output = f"{first.output[0]}_whole"
        product = helper.make_node("Conv", [first.input[0], weight], [output], name=first.name)
        product.attribute.extend(first.attribute)
        self.nodes.append(product)
        return output, sum(len(kernel) for kernel in kernels)

    def _reshape(self, source: str, shape: list[int], name: str) -> str:
        target = self._constant(f"{name}_shape", np.array(shape, np.int64))
        self.nodes.append(helper.make_node("Reshape", [source, target], [name], name=name))
        return name

    def _constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name
