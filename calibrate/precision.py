"""Precision is a property of the graph: fp32 → fp16 by casts, fp32 → int8 by Q/DQ pairs.

The same file then feeds every engine; no engine builder takes a precision option.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from calibrate.features import IMAGE, PREPROCESSING, FeaturesGraph
from engines.engine import Precision
from engines.exact import EXACT

CALIBRATION_IMAGES = 128
LEAST_CHANNELS = 32  # narrower convolutions gain nothing in INT8
AT_ONCE = 8  # calibration images
SMALLEST_SCALE = 1e-8  # TensorRT refuses 0, which a dead channel would give
LARGEST_HALF = 65504.0
HEAVY_TAILED = "tail/"
"""How the names of convolutions begin that stay fp16 in int8 too: a few large values in what they
read would cost all others their digits."""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


class PrecisionError(ValueError):
    """A graph cannot be brought to the precision that was asked for."""


def graph_at_precision(
    features: FeaturesGraph,
    precision: Precision,
    *,
    calibration: Iterable[npt.NDArray[np.uint8]] = (),
) -> FeaturesGraph:
    """Convert a features graph.

    Args:
        features: the graph in fp32.
        precision: ``fp32`` returns it as it is. ``fp16``: everything after the normalisation of
            the image in half precision. ``int8``: convolutions of at least 32 input channels
            but the first with symmetric per-channel INT8 weights and per-tensor INT8 inputs,
            calibrated to hold all but a hundred-thousandth of the values on each side; the other
            convolutions in fp16.
        calibration: batches of good images, (n, H, W, 3) uint8 BGR; for int8 alone.

    Raises:
        PrecisionError: int8 without a calibration image.
    """
    model = model_at_precision(features.model, precision, calibration=calibration)
    return replace(features, model=model)


def model_at_precision(
    model: bytes,
    precision: Precision,
    *,
    calibration: Iterable[npt.NDArray[np.uint8]] = (),
) -> bytes:
    """Convert any graph that begins with our preprocessing.

    Nodes whose names begin with `engines.exact.EXACT` stay float32, and so do their constants.

    Args:
        model: serialised ONNX in fp32, static shapes.
        precision: as for `graph_at_precision`.
        calibration: images on which value ranges are measured, (n, H, W, 3) uint8 BGR; for int8
            alone.

    Raises:
        PrecisionError: int8 without a calibration image.
    """
    if precision == "fp32":
        return model
    return _half(model) if precision == "fp16" else _quantised(model, calibration)


def _half(model: bytes) -> bytes:
    """Convert all but the preprocessing, whose 0..255 values need float32, and exact nodes."""
    whole = shape_inference.infer_shapes(
        onnx.load_model_from_string(model), strict_mode=True, data_prop=True
    )
    _Half(whole.graph).convert()
    return bytes(whole.SerializeToString())


class _Half:
    """Gives each node the type it computes in, with a Cast wherever two of them differ."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {weight.name: weight for weight in graph.initializer}
        self._types = {name: weight.data_type for name, weight in self._constants.items()}
        for value in (*graph.input, *graph.value_info, *graph.output):
            self._types[value.name] = value.type.tensor_type.elem_type
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[str, onnx.TensorProto] = {}
        self._cast: set[str] = set()

    def convert(self) -> None:
        """Rewrite the graph in place."""
        for node in self._graph.node:
            self._place(node)
        used = {name for node in self._nodes for name in node.input}
        kept = [weight for name, weight in self._constants.items() if name in used]
        for output in self._graph.output:
            output.type.tensor_type.elem_type = self._types[output.name]
        for part in (self._graph.node, self._graph.initializer, self._graph.value_info):
            del part[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend([*kept, *self._made.values()])

    def _place(self, node: onnx.NodeProto) -> None:
        exact = node.name.startswith((PREPROCESSING, EXACT))
        wanted = TensorProto.FLOAT if exact else TensorProto.FLOAT16
        for position, name in enumerate(node.input):
            factors = node.op_type == "Resize" and position > 0  # always float32
            if self._types.get(name) in _FLOATS and not factors:
                node.input[position] = self._as(name, wanted)
        self._nodes.append(node)
        for name in node.output:
            if self._types.get(name) in _FLOATS:
                self._types[name] = wanted

    def _as(self, name: str, wanted: int) -> str:
        """The name under which a value is to be had in a type; a Cast is made once."""
        if self._types[name] == wanted:
            return name
        other = f"{name}/{'half' if wanted == TensorProto.FLOAT16 else 'float'}"
        if name in self._constants:
            self._made[other] = _half_constant(self._constants[name], other)
        elif other not in self._cast:
            self._cast.add(other)
            title = other.removeprefix(EXACT)  # what it gives is not exact
            self._nodes.append(helper.make_node("Cast", [name], [other], name=title, to=wanted))
        return other


def _half_constant(weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
    """A float32 constant in float16: what is beyond its range becomes its largest value."""
    values = np.clip(numpy_helper.to_array(weight), -LARGEST_HALF, LARGEST_HALF)
    return numpy_helper.from_array(values.astype(np.float16), name)


def _quantised(model: bytes, calibration: Iterable[npt.NDArray[np.uint8]]) -> bytes:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    graph = onnx.load_model_from_string(model)
    wide = _wide_convolutions(graph.graph)
    images = _Images(calibration)
    if not len(images):
        raise PrecisionError(
            "int8 needs good images to measure its value ranges on, and there are none; "
            "give a folder of good images, or --precision fp16"
        )
    with tempfile.TemporaryDirectory(prefix="protoedge-") as folder, _quiet():
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(graph.SerializeToString())
        quantize_static(
            source,
            target,
            images,
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.Percentile,  # of its default, 99.999
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=wide,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "AddQDQPairToWeight": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
                "CalibStridedMinMax": images.at_once,
            },
        )
        quantised = onnx.load_model_from_string(target.read_bytes())
    _spare_exact_nodes(quantised.graph)
    _round_before_maxima(quantised.graph)
    _floor_scales(quantised.graph)
    _halve_other_convolutions(quantised.graph)
    return bytes(quantised.SerializeToString())


class _Images:
    """Feeds calibration images one at a time, as ONNX Runtime's calibrator asks for them.

    Attributes:
        at_once: images held in memory with all their tensors. The histograms' bins are as wide as
            the first of these make them: one image could be all but 0 somewhere, and leave a
            later one with more bins than there is memory for.
    """

    def __init__(self, batches: Iterable[npt.NDArray[np.uint8]]) -> None:
        images = [image[None] for batch in batches for image in batch]
        self.at_once = min(AT_ONCE, max(1, len(images)))
        self._images = images[: len(images) - len(images) % self.at_once]
        self._coming = iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next input, or None after the last."""
        image = next(self._coming, None)
        return None if image is None else {IMAGE: image}

    def set_range(self, start_index: int, end_index: int) -> None:
        """Feed these images from now on."""
        self._coming = iter(self._images[start_index:end_index])


def _wide_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Name every convolution; return those that become INT8: wide ones, but not the first."""
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for index, node in enumerate(convolutions):
        node.name = node.name or f"conv_{index}"
    return [
        node.name
        for node in convolutions[1:]
        if shapes[node.input[1]][1] >= LEAST_CHANNELS and not node.name.startswith(HEAVY_TAILED)
    ]


def _spare_exact_nodes(graph: onnx.GraphProto) -> None:
    """Let exact nodes read what is not quantised, and nothing else be called exact.

    ONNX Runtime hands a tensor that a quantised convolution reads to all its readers quantised.
    """
    pairs = ("QuantizeLinear", "DequantizeLinear")
    quantise, dequantise = ({n.output[0]: n for n in graph.node if n.op_type == k} for k in pairs)
    for node in graph.node:
        if node.op_type in pairs:
            node.name = node.name.removeprefix(EXACT)
        elif node.name.startswith(EXACT):
            for position, name in enumerate(node.input):
                source = dequantise.get(name)
                if source is not None and source.input[0] in quantise:
                    node.input[position] = quantise[source.input[0]].input[0]


def _round_before_maxima(graph: onnx.GraphProto) -> None:
    """Round also before each MaxPool whose result is rounded: the same, and it pools bytes."""
    rounding = {n.input[0]: n for n in graph.node if n.op_type == "QuantizeLinear"}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        behind = rounding.get(node.output[0])
        if node.op_type == "MaxPool" and behind is not None:
            source, scale = node.input[0], list(behind.input[1:])
            node.input[0] = f"{source}/rounded"
            integers = f"{source}/integers"
            nodes.append(helper.make_node("QuantizeLinear", [source, *scale], [integers]))
            nodes.append(helper.make_node("DequantizeLinear", [integers, *scale], node.input))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _floor_scales(graph: onnx.GraphProto) -> None:
    names = {
        node.input[1]
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    for weight in graph.initializer:
        if weight.name in names:
            scale = np.maximum(numpy_helper.to_array(weight), np.float32(SMALLEST_SCALE))
            weight.CopyFrom(numpy_helper.from_array(scale.astype(np.float32), weight.name))


def _halve_other_convolutions(graph: onnx.GraphProto) -> None:
    """Run the convolutions that are not quantised in fp16, cast in and out."""
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    weights = {weight.name: weight for weight in graph.initializer}
    halves: dict[str, onnx.TensorProto] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] in dequantised:
            nodes.append(node)
            continue
        for position, name in enumerate(node.input[1:], start=1):
            # A copy: equal weights are stored once, and another convolution may want them whole.
            node.input[position] = f"{name}/half"
            halves[node.input[position]] = _half_constant(weights[name], node.input[position])
        source, output = node.input[0], node.output[0]
        node.input[0], node.output[0] = f"{source}/half/{node.name}", f"{output}/half"
        nodes += [
            helper.make_node("Cast", [source], [node.input[0]], to=TensorProto.FLOAT16),
            node,
            helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT),
        ]
    used = {name for node in nodes for name in node.input}
    kept = [*(weight for weight in weights.values() if weight.name in used), *halves.values()]
    del graph.node[:], graph.value_info[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's progress off stdout, and advice that does not apply off stderr."""
    root = logging.getLogger()

    def drop(record: Any) -> bool:
        return not record.getMessage().startswith("Please consider")

    root.addFilter(drop)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeFilter(drop)
