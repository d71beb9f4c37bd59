"""What a graph costs: arithmetic and traffic of each convolution and matrix product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Cost:
    """One convolution or matrix product.

    Attributes:
        node: its name in the graph.
        kind: ``Conv``, ``ConvTranspose``, ``Gemm`` or ``MatMul``.
        flop: multiplications and additions, each counted as one.
        numbers: that it reads and writes at least: both factors and the result, each once.
        rounded: both of its factors are int8 numbers.
    """

    node: str
    kind: str
    flop: int
    numbers: int
    rounded: bool


def costs_of(graph: onnx.GraphProto) -> tuple[Cost, ...]:
    """Costs of a graph's products, in its order; what lies between them is left out.

    Engines compute activations, additions and changes of type within the products beside them, so
    what is left out is little arithmetic and, at best, no traffic. A product of unknown shapes
    costs 0.

    Args:
        graph: with its shapes inferred.
    """
    shapes = _shapes(graph)
    rounded = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return tuple(_cost(node, shapes, rounded) for node in graph.node if node.op_type in PRODUCTS)


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in dims)  # a free batch: one image
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
    return shapes


def _cost(node: onnx.NodeProto, shapes: Shapes, rounded: set[str]) -> Cost:
    first, second, output = (
        shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0])
    )
    known = bool(first and second and output)
    if node.op_type == "Conv":
        products = prod(output) * prod(second[1:])
    elif node.op_type == "ConvTranspose":
        products = prod(first) * prod(second[1:])
    else:
        turned = any(item.name == "transA" and item.i for item in node.attribute)
        products = prod(output) * (first[0] if turned else first[-1]) if known else 0
    numbers = prod(first) + prod(second) + prod(output)
    return Cost(
        node=node.name or node.output[0],
        kind=node.op_type,
        flop=2 * products if known else 0,
        numbers=numbers if known else 0,
        rounded=node.input[0] in rounded and node.input[1] in rounded,
    )
