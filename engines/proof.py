"""Proof of precision: each heavy product of the graph must be computed in the type it asks for.

The graph says a type for each convolution and matrix product; the list of a plan's layers says
what became of each of them. Both name the graph's nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from engines.engine import Precision
from engines.layers import Layer

HEAVY = 0.005
"""Share of a graph's multiplications from which on a product counts: lighter ones cost nothing,
and TensorRT computes some of them within other kernels."""
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_NAMES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
}


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product of a graph.

    Attributes:
        node: its name in the graph.
        precision: that it must be computed in, such as ``int8``.
        share: of all multiplications of the graph, 0 to 1.
        convolution: or a matrix product.
    """

    node: str
    precision: str
    share: float
    convolution: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """What the list of layers says about a graph's heavy products.

    Attributes:
        products: all heavy ones, in the graph's order.
        wrong: what runs in another type than it should: node to type.
        unseen: nodes that no layer names, so that nothing can be said about them.
    """

    products: tuple[Product, ...]
    wrong: Mapping[str, str]
    unseen: tuple[str, ...]

    def problem(self) -> str | None:
        """The first product that is not as the graph asks for, in one line, or None."""
        for product in self.products:
            found = self.wrong.get(product.node)
            if found is not None:
                return (
                    f"{product.node} must run in {product.precision} and runs in {found} "
                    f"({len(self.wrong)} of {len(self.products)} heavy layers are not as asked)"
                )
        return None


def heavy_products(model: bytes) -> tuple[Product, ...]:
    """Convolutions and matrix products of a serialised graph that cost time, with their types."""
    graph = shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
    facts = _Facts(graph)
    found = [
        (node, facts.type_of(node), facts.multiplications(node))
        for node in graph.node
        if node.op_type in _PRODUCTS
    ]
    total = sum(count for _, _, count in found) or 1
    return tuple(
        Product(node.name, kind, count / total, node.op_type.startswith("Conv"))
        for node, kind, count in found
        if count / total >= HEAVY
    )


def prove(layers: Sequence[Layer], model: bytes) -> Proof:
    """Compare a plan's layers with its graph.

    Args:
        layers: of the plan.
        model: serialised ONNX that it was compiled from.
    """
    wrong: dict[str, str] = {}
    unseen: list[str] = []
    products = heavy_products(model)
    for product in products:
        rows = [layer for layer in layers if product.node in layer.nodes]
        heavy = [layer for layer in rows if layer.kind in ("convolution", "gemm")]
        if not rows:
            unseen.append(product.node)
        elif heavy:
            others = [row.precision for row in heavy if row.precision != product.precision]
            if others:
                wrong[product.node] = others[0]
        elif not any(product.precision in row.inputs for row in rows):
            wrong[product.node] = rows[0].precision or "an unknown type"
    return Proof(products, wrong, tuple(unseen))


def graph_problem(model: bytes, precision: Precision) -> str | None:
    """Why a graph is not at the precision that was asked for, or None."""
    found = {product.precision for product in heavy_products(model)}
    if not found or precision in found:
        return None
    return f"{precision} was asked for, but the graph is in {'+'.join(sorted(found))}"


class _Facts:
    """Types and shapes of a graph's tensors."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._constants = {weight.name: weight for weight in graph.initializer}
        self._types = {name: weight.data_type for name, weight in self._constants.items()}
        self._shapes: dict[str, tuple[int, ...]] = {
            name: tuple(weight.dims) for name, weight in self._constants.items()
        }
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            self._types[value.name] = kind.elem_type
            self._shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                values = numpy_helper.to_array(node.attribute[0].t)
                self._shapes[node.output[0]] = values.shape
        self._dequantised = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "DequantizeLinear"
        }

    def type_of(self, node: onnx.NodeProto) -> str:
        """The type that both factors have: that of the stored numbers where both are rounded."""
        stored = [self._dequantised.get(name) for name in node.input[:2]]
        if all(name is not None for name in stored):
            kinds = {self._types.get(name or "") for name in stored}
            if kinds <= {TensorProto.INT8, None}:
                return "int8"
        return _NAMES.get(self._types.get(node.input[0], 0), "an unknown type")

    def multiplications(self, node: onnx.NodeProto) -> int:
        """How many; 0 where a shape is not known."""
        first, second, output = (
            self._shapes.get(name, ()) for name in (*node.input[:2], node.output[0])
        )
        if node.op_type == "Conv":
            return prod(output) * prod(second[1:]) if output else 0
        if node.op_type == "ConvTranspose":
            return prod(first) * prod(second[1:]) if first else 0
        return prod(output) * first[-1] if output and first else 0
