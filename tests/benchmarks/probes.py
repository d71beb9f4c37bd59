"""Graphs that measure a machine: one that only computes, one that only moves memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from engines.batches import INPUT
from engines.engine import Precision

CHANNELS = 512
PRODUCTS = 8
POOL_CHANNELS, POOL_SIDE = 64, 256
POOLED_BYTES = 2 * 4 * POOL_CHANNELS * POOL_SIDE * POOL_SIDE  # of one pooling, read and written
OPSET = 18


class _Writer:
    """Nodes and constants of a graph, each named after what it makes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def model(self, side: int) -> bytes:
        """The graph: `image` uint8 (1, side, side, 3) to `pred_score` float32 (1,)."""
        image = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, side, side, 3])
        score = helper.make_tensor_value_info("pred_score", TensorProto.FLOAT, [1])
        graph = helper.make_graph(self.nodes, "probe", [image], [score], self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        return bytes(model.SerializeToString())


def products_graph(precision: Precision, *, side: int) -> tuple[bytes, int]:
    """Eight 1x1 convolutions of 512 channels, which are matrix products, and what they compute.

    Args:
        precision: of the products, written as a bundle's graph has it: casts, or Q/DQ.
        side: of the image, px.

    Returns:
        The serialised graph, and its FLOP.
    """
    random = np.random.default_rng(0)
    write = _Writer()
    number = np.float16 if precision == "fp16" else np.float32
    value = write.node(
        "Cast", [INPUT], "number", to=helper.np_dtype_to_tensor_dtype(number(0).dtype)
    )
    value = write.node("Transpose", [value], "planes", perm=[0, 3, 1, 2])
    value = write.node("Mul", [value, write.constant("scale", number(1 / 255))], "scaled")
    first = random.normal(0, 0.8, (CHANNELS, 3, 1, 1)).astype(number)
    value = write.node("Conv", [value, write.constant("first", first)], "widened")
    spread = (2 / CHANNELS) ** 0.5
    for index in range(PRODUCTS):
        weights = random.normal(0, spread, (CHANNELS, CHANNELS, 1, 1))
        factors = (
            _rounded(write, value, weights, spread, index)
            if precision == "int8"
            else [value, write.constant(f"weights{index}", weights.astype(number))]
        )
        value = write.node("Conv", factors, f"product{index}")
        value = write.node("Relu", [value], f"relu{index}")
    if precision == "fp16":
        value = write.node("Cast", [value], "wide", to=TensorProto.FLOAT)
    _score(write, value)
    return write.model(side), 2 * PRODUCTS * CHANNELS * CHANNELS * side * side


def pools_graph(count: int) -> bytes:
    """So many 3x3 poolings of a large tensor; each reads and writes all of it."""
    write = _Writer()
    value = write.node("Cast", [INPUT], "number", to=TensorProto.FLOAT)
    value = write.node("Transpose", [value], "planes", perm=[0, 3, 1, 2])
    weights = np.random.default_rng(0).normal(0, 1, (POOL_CHANNELS, 3, 1, 1)).astype(np.float32)
    value = write.node("Conv", [value, write.constant("weights", weights)], "widened")
    for index in range(count):
        value = write.node(
            "MaxPool", [value], f"pool{index}", kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        )
    _score(write, value)
    return write.model(POOL_SIDE)


def _rounded(write: _Writer, value: str, weights: Any, spread: float, index: int) -> list[str]:
    """Both factors as int8 numbers behind Q/DQ."""
    zero = write.constant(f"zero{index}", np.int8(0))
    step = write.constant(f"step{index}", np.float32(0.03))
    value = write.node("QuantizeLinear", [value, step, zero], f"q{index}")
    value = write.node("DequantizeLinear", [value, step, zero], f"dq{index}")
    size = 4 * spread / 127
    stored = np.clip(np.round(weights / size), -127, 127).astype(np.int8)
    steps = write.constant(f"steps{index}", np.full(CHANNELS, size, np.float32))
    zeros = write.constant(f"zeros{index}", np.zeros(CHANNELS, np.int8))
    kept = write.constant(f"weights{index}", stored)
    return [value, write.node("DequantizeLinear", [kept, steps, zeros], f"w{index}", axis=0)]


def _score(write: _Writer, value: str) -> None:
    axes = write.constant("axes", np.array([1, 2, 3], np.int64))
    write.node("ReduceMax", [value, axes], "pred_score", keepdims=0)
