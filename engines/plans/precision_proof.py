"""Proof of precision: each heavy product of the graph must be computed in the type it asks for.

The graph says a type for each convolution and matrix product; the list of a plan's layers says
what became of each of them. Both name the graph's nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, shape_inference

from engines.graph_cost import costs_of
from engines.plans.layers import Layer

HEAVY = 0.005
"""Share of a graph's multiplications from which on a product counts: lighter ones cost nothing,
and TensorRT computes some of them within other kernels."""
TOLERABLE = 0.05
"""Share of the multiplications that may run in a higher type than asked for, such as a quantised
convolution in FP32: that costs less time than a build that is refused. Never in a lower one."""
_WIDTHS = {"int8": 8, "fp8": 8, "fp16": 16, "bf16": 16, "fp32": 32}  # bits
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
        """The first product for which the plan is refused, in one line, or None."""
        found = self._not_as_asked()
        lower = [each for each in found if not self._is_higher(each)]
        if lower or sum(each.share for each in found) > TOLERABLE:
            return self._describe((lower or found)[0])
        return None

    def warning(self) -> str | None:
        """What runs in a higher type than asked for and is too little to refuse, or None."""
        found = self._not_as_asked()
        if not found or self.problem():
            return None
        share = sum(each.share for each in found)
        return f"{self._describe(found[0])}: {share:.1%} of the multiplications, at a cost in time"

    def _not_as_asked(self) -> list[Product]:
        return [product for product in self.products if product.node in self.wrong]

    def _is_higher(self, product: Product) -> bool:
        asked, found = _WIDTHS.get(product.precision), _WIDTHS.get(self.wrong[product.node])
        return asked is not None and found is not None and found > asked

    def _describe(self, product: Product) -> str:
        return (
            f"{product.node} must run in {product.precision} and runs in "
            f"{self.wrong[product.node]} "
            f"({len(self.wrong)} of {len(self.products)} heavy layers are not as asked)"
        )


def heavy_products(model: bytes) -> tuple[Product, ...]:
    """Convolutions and matrix products of a serialised graph that cost time, with their types."""
    graph = shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
    costs = costs_of(graph)
    types = _types_of_products(graph)
    total = sum(cost.flop for cost in costs) or 1
    return tuple(
        Product(cost.node, types[cost.node], cost.flop / total, cost.kind.startswith("Conv"))
        for cost in costs
        if cost.flop / total >= HEAVY
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


def _types_of_products(graph: onnx.GraphProto) -> dict[str, str]:
    """By node: the type that both factors have, of the stored numbers where both are rounded."""
    types = {weight.name: weight.data_type for weight in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    stored = {
        node.output[0]: types.get(node.input[0], TensorProto.INT8)  # inference may not tell
        for node in graph.node
        if node.op_type == "DequantizeLinear"
    }
    found = {}
    for node in graph.node:
        rounded = [stored.get(name) == TensorProto.INT8 for name in node.input[:2]]
        plain = _NAMES.get(types.get(node.input[0], 0), "an unknown type")
        found[node.name or node.output[0]] = "int8" if all(rounded) and rounded else plain
    return found
