"""What a serialised graph costs."""

from __future__ import annotations

import onnx
from onnx import shape_inference

from engines.graph_cost import Cost, costs_of


def costs_from_onnx(model: bytes) -> tuple[Cost, ...]:
    return costs_of(shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph)
