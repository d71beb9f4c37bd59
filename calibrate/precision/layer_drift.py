"""Where a graph at its precision first departs from itself in fp32: layer by layer, on images.

The reference is the shipped graph without its rounding and with all arithmetic in float32, so its
weights are those that are shipped, and what differs is what computing in less does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from calibrate.images import Image
from calibrate.precision.fp16_from_int8 import take_rounding_away
from engines.batches import with_batch
from engines.engine import Engine
from engines.plans.whole_head import graph_with_whole_head

SCORE = "pred_score"
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_COMPUTE_NOTHING = ("Cast", "QuantizeLinear", "DequantizeLinear", "Constant", "Identity")


@dataclass(frozen=True, slots=True)
class LayerDrift:
    """How far a layer's output is from that of fp32.

    Attributes:
        name: of the node.
        kind: its operator.
        error: Euclidean norm of the difference over that of fp32, on the worst image; None if the
            layer gives what is no number.
    """

    name: str
    kind: str
    error: float | None

    def exceeds(self, tolerance: float) -> bool:
        """Whether it is off by more."""
        return self.error is None or self.error > tolerance

    def to_json(self) -> dict[str, Any]:
        """The layer as JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GraphDrift:
    """How far a graph is from itself in fp32.

    Attributes:
        layers: that both graphs have, in the graph's order.
        scores: of the images, as the engine gives them; empty if the graph has none.
        reference: the same in fp32.
    """

    layers: tuple[LayerDrift, ...]
    scores: tuple[float, ...]
    reference: tuple[float, ...]


def measure_layer_drift(
    model: bytes,
    images: Image,
    *,
    open_engine: Callable[[bytes], Engine],
    open_reference: Callable[[bytes], Engine],
    in_plan: bool = False,
) -> GraphDrift:
    """Compare each layer of a graph with the same in fp32.

    A layer whose output is asked for may be fused with less than without: an engine may round more
    or less often there than when it inspects.

    Args:
        model: serialised ONNX at its precision.
        images: (n, H, W, 3) uint8 BGR of the model's size.
        open_engine: opens the engine that inspects.
        open_reference: opens the one that computes float32 as it is written.
        in_plan: the engine compiles a plan, which compares all prototypes at once: blocks of them
            are no layers there, and it can't be asked for what they give.

    Raises:
        EngineError: an engine doesn't take the graph, or fails.
    """
    model = with_batch(model, 1)
    if in_plan:
        model = graph_with_whole_head(model)
    reference = fp32_from_lower(model)
    layers = _layers_of_both(model, reference)
    given = _outputs(_asking_for(model, layers), images, open_engine)
    wanted = _outputs(_asking_for(reference, layers), images, open_reference)
    found = (
        LayerDrift(node.name or value, node.op_type, _worst(given, wanted, value))
        for value, node in layers.items()
    )
    return GraphDrift(tuple(found), _scores(given), _scores(wanted))


def fp32_from_lower(model: bytes) -> bytes:
    """An fp16 or int8 graph without its rounding, all of it in float32.

    Args:
        model: serialised ONNX.
    """
    graph = onnx.load_model_from_string(model)
    take_rounding_away(graph.graph)
    for weight in graph.graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            numbers = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(numbers, weight.name))
    for node in graph.graph.node:
        for to in (each for each in node.attribute if node.op_type == "Cast" and each.name == "to"):
            to.i = TensorProto.FLOAT if to.i == TensorProto.FLOAT16 else to.i
    del graph.graph.value_info[:]
    return bytes(graph.SerializeToString())


def _layers_of_both(model: bytes, reference: bytes) -> dict[str, onnx.NodeProto]:
    """Values that both graphs compute as floating-point numbers: name to the node."""
    kinds = [_kinds(one) for one in (model, reference)]
    return {
        value: node
        for node in onnx.load_model_from_string(model).graph.node
        for value in node.output
        if node.op_type not in _COMPUTE_NOTHING
        and all(kind.get(value) in _FLOATS for kind in kinds)
    }


def _kinds(model: bytes) -> dict[str, int]:
    graph = shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
    return {
        value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)
    }


def _asking_for(model: bytes, layers: dict[str, onnx.NodeProto]) -> bytes:
    graph = onnx.load_model_from_string(model)
    kinds = _kinds(model)
    there = {output.name for output in graph.graph.output}
    graph.graph.output.extend(
        helper.make_tensor_value_info(name, kinds[name], None)
        for name in layers
        if name not in there
    )
    return bytes(graph.SerializeToString())


def _outputs(
    model: bytes, images: Image, open_engine: Callable[[bytes], Engine]
) -> list[dict[str, npt.NDArray[np.float32]]]:
    """What each image gives, by the value's name."""
    asked = [output.name for output in onnx.load_model_from_string(model).graph.output]
    with open_engine(model) as engine:
        # OpenVINO keeps the order, but calls a value by any of the names that it has.
        names = engine.outputs if set(engine.outputs) == set(asked) else asked
        return [
            {
                name: np.asarray(output, np.float32)
                for name, output in zip(names, engine.infer(image[None]), strict=True)
            }
            for image in images
        ]


def _scores(outputs: list[dict[str, npt.NDArray[np.float32]]]) -> tuple[float, ...]:
    return tuple(float(one[SCORE].item()) for one in outputs if SCORE in one)


def _worst(
    given: list[dict[str, npt.NDArray[np.float32]]],
    wanted: list[dict[str, npt.NDArray[np.float32]]],
    name: str,
) -> float | None:
    errors = []
    for one, other in zip(given, wanted, strict=True):
        found = np.linalg.norm((one[name] - other[name]).ravel().astype(np.float64))
        errors.append(float(found) / max(float(np.linalg.norm(other[name])), 1e-12))
    return max(errors) if np.isfinite(errors).all() else None
