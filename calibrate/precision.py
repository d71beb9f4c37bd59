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
from onnx import TensorProto, helper, numpy_helper

from calibrate.features import IMAGE, NORMALISED, PREPROCESSING, FeaturesGraph
from engines.engine import Precision

CALIBRATION_IMAGES = 128
LEAST_CHANNELS = 32  # narrower convolutions gain nothing in INT8
SMALLEST_SCALE = 1e-8  # TensorRT refuses 0, which a dead channel would give


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
    if precision == "fp32":
        return features
    if precision == "fp16":
        return replace(features, model=_half(features.model))
    return replace(features, model=_quantised(features.model, calibration))


def _half(model: bytes) -> bytes:
    """Convert all behind the preprocessing, whose 0..255 values stay in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    whole = onnx.load_model_from_string(model)
    nodes, image = list(whole.graph.node), whole.graph.input[0]
    first = [node for node in nodes if node.name.startswith(PREPROCESSING)]
    shape = [image.type.tensor_type.shape.dim[i].dim_value for i in (0, 3, 1, 2)]
    del whole.graph.node[:], whole.graph.input[:]
    whole.graph.node.extend(node for node in nodes if node not in first)
    whole.graph.input.append(helper.make_tensor_value_info(NORMALISED, TensorProto.FLOAT, shape))
    kept = [
        onnx.TensorProto.FromString(w.SerializeToString())
        for w in whole.graph.initializer
        if w.name.startswith(PREPROCESSING)
    ]
    half = convert_float_to_float16(whole, disable_shape_infer=True)
    for weight in half.graph.initializer:
        if weight.name in kept:
            weight.ParseFromString(kept[weight.name])
    for node in half.graph.node:
        node.input[:] = [f"{NORMALISED}/half" if n == NORMALISED else n for n in node.input]
    cast = helper.make_node(
        "Cast", [NORMALISED], [f"{NORMALISED}/half"], name="pre/half", to=TensorProto.FLOAT16
    )
    rest = list(half.graph.node)
    del half.graph.node[:], half.graph.input[:], half.graph.value_info[:]
    half.graph.node.extend([*first, cast, *rest])
    half.graph.input.append(image)
    return bytes(half.SerializeToString())


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
                "CalibStridedMinMax": 1,  # images held in memory with all their tensors
            },
        )
        quantised = onnx.load_model_from_string(target.read_bytes())
    _round_before_maxima(quantised.graph)
    _floor_scales(quantised.graph)
    _halve_other_convolutions(quantised.graph)
    return bytes(quantised.SerializeToString())


class _Images:
    """Feeds calibration images one at a time, as ONNX Runtime's calibrator asks for them."""

    def __init__(self, batches: Iterable[npt.NDArray[np.uint8]]) -> None:
        self._images = [image[None] for batch in batches for image in batch]
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
    """Name every convolution; return those that become INT8: wide ones, and not the first."""
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for index, node in enumerate(convolutions):
        node.name = node.name or f"conv_{index}"
    return [node.name for node in convolutions[1:] if shapes[node.input[1]][1] >= LEAST_CHANNELS]


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
            half = numpy_helper.to_array(weights[name]).astype(np.float16)
            halves[node.input[position]] = numpy_helper.from_array(half, node.input[position])
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
