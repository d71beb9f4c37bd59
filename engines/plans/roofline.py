"""How long a plan is expected to take, from its layers alone, to tell two plans apart.

No layer is quicker than its bytes and its arithmetic allow, and none is free. The GPU is the RTX
card on which INT8 has most to gain: the one with the least arithmetic for its memory. What is
quicker in fp16 there is so on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import shape_inference

from engines.batches import with_batch
from engines.graph_cost import costs_of
from engines.plans.layers import Layer
from engines.plans.whole_head import graph_with_whole_head

BYTES_PER_S = 360e9
FLOP_PER_BYTE = {"int8": 280.0, "fp16": 140.0, "bf16": 140.0, "fp32": 35.0}
"""In the time of a byte: RTX 3060, 51 TFLOP/s of fp16 (of fp32 in TF32 a quarter), twice as many
operations in INT8. RTX 4090: 330 for fp16, 5090: 234."""
KERNEL_S = 1e-6
"""That a kernel costs before it does anything, within a CUDA graph."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a plan does for one image.

    Attributes:
        kernels: that run.
        activation_bytes: that they read and write.
        constant_bytes: that they read besides.
        flop: multiplications and additions.
        seconds: that it takes at least.
    """

    kernels: int
    activation_bytes: int
    constant_bytes: int
    flop: int
    seconds: float


def work_of(layers: Sequence[Layer], model: bytes) -> Work:
    """What a plan's layers do.

    Args:
        layers: of a TensorRT-RTX plan, whose list says how large tensors are.
        model: serialised ONNX that the plan was compiled from.
    """
    lowered = onnx.load_model_from_string(graph_with_whole_head(with_batch(model, 1)))
    costs = costs_of(shape_inference.infer_shapes(lowered).graph)
    flop = {cost.node: cost.flop for cost in costs}
    running = [layer for layer in layers if layer.kind != "sync"]
    return Work(
        kernels=len(running),
        activation_bytes=sum(layer.activation_bytes for layer in running),
        constant_bytes=sum(layer.constant_bytes for layer in running),
        flop=sum(flop.values()),
        seconds=sum(_seconds(layer, flop) for layer in running),
    )


def _seconds(layer: Layer, flop: dict[str, int]) -> float:
    heavy = layer.kind in ("convolution", "gemm")
    products = sum(flop.get(node, 0) for node in set(layer.nodes)) if heavy else 0
    arithmetic = products / FLOP_PER_BYTE.get(layer.precision, FLOP_PER_BYTE["fp32"])
    moved = layer.activation_bytes + layer.constant_bytes
    return KERNEL_S + max(moved, arithmetic) / BYTES_PER_S
