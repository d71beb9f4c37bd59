"""int8: Q/DQ pairs around the wide convolutions; what is not quantised runs in fp16 or fp32.

Value ranges are measured once. Which convolutions are then left out is decided afterwards, as often
as one likes, by taking their pairs away again: the ranges of the others do not depend on it.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibrate.node_names import HEAVY_TAILED, HigherPrecisionNodes
from engines.batches import INPUT
from engines.engine import EXACT

MIN_CHANNELS = 32  # narrower convolutions gain nothing in INT8
AT_ONCE = 8  # calibration images
SMALLEST_SCALE = 1e-8  # TensorRT refuses 0, which a dead channel would give
LARGEST_HALF = 65504.0
_PAIR = ("QuantizeLinear", "DequantizeLinear")


class PrecisionError(ValueError):
    """A graph cannot be brought to the precision that was asked for."""


class Quantised:
    """A graph with its value ranges measured, from which int8 graphs are made.

    Args:
        model: serialised ONNX in fp32, static shapes, every node named.
        calibration: images on which value ranges are measured, (n, H, W, 3) uint8 BGR.

    Attributes:
        convolutions: names of those that become INT8.

    Raises:
        PrecisionError: no calibration image.
    """

    def __init__(self, model: bytes, calibration: Iterable[npt.NDArray[np.uint8]]) -> None:
        self._fp32 = onnx.load_model_from_string(model)
        self.convolutions = frozenset(_wide_convolutions(self._fp32.graph))
        self._paired = _insert_pairs(self._fp32, calibration)

    def model(self, higher: HigherPrecisionNodes) -> bytes:
        """The int8 graph, some nodes above it."""
        quantised = onnx.load_model_from_string(self._paired)
        graph = quantised.graph
        _take_pairs_away(graph, self._fp32.graph, higher)
        name_exact(graph, higher)
        _spare_exact_nodes(graph)
        _round_before_maxima(graph)
        _floor_scales(graph)
        _halve_other_convolutions(graph)
        return bytes(quantised.SerializeToString())


def name_exact(graph: onnx.GraphProto, higher: HigherPrecisionNodes) -> None:
    """Put `EXACT` before the names of the nodes that are kept in fp32: so every engine knows."""
    for node in graph.node:
        if higher.get(node.name) == "fp32":
            node.name = f"{EXACT}{node.name}"


def half_constant(weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
    """A float32 constant in float16: what is beyond its range becomes its largest value."""
    values = np.clip(numpy_helper.to_array(weight), -LARGEST_HALF, LARGEST_HALF)
    return numpy_helper.from_array(values.astype(np.float16), name)


def _insert_pairs(model: onnx.ModelProto, calibration: Iterable[npt.NDArray[np.uint8]]) -> bytes:
    """The graph with a pair wherever there may be one; the given one is left as it is."""
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    wide = _wide_convolutions(model.graph)
    images = _CalibrationReader(calibration)
    if not len(images):
        raise PrecisionError(
            "int8 needs good images to measure its value ranges on, and there are none; "
            "give a folder of good images, or --precision fp16"
        )
    with tempfile.TemporaryDirectory(prefix="protoedge-") as folder, _quiet():
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(model.SerializeToString())
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
        return target.read_bytes()


class _CalibrationReader:
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
        return None if image is None else {INPUT: image}

    def set_range(self, start_index: int, end_index: int) -> None:
        """Feed these images from now on."""
        self._coming = iter(self._images[start_index:end_index])


def _wide_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions that become INT8: wide ones, but not the first."""
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return [
        node.name
        for node in convolutions[1:]
        if shapes[node.input[1]][1] >= MIN_CHANNELS
        and not node.name.startswith((HEAVY_TAILED, EXACT))
    ]


def _take_pairs_away(
    graph: onnx.GraphProto, fp32: onnx.GraphProto, higher: HigherPrecisionNodes
) -> None:
    """Give the kept convolutions their inputs back, and so everybody who shares one in vain."""
    given = {node.name: list(node.input) for node in fp32.node}
    for node in graph.node:
        if node.op_type == "Conv" and node.name in higher:
            node.input[:] = given[node.name]
    quantise, dequantise = _by_output(graph, _PAIR[0]), _by_output(graph, _PAIR[1])
    wanted = {node.input[0] for node in graph.node if node.op_type == "Conv"}
    for node in graph.node:
        for position, name in enumerate(node.input):
            source = dequantise.get(name)
            if source is not None and name not in wanted and source.input[0] in quantise:
                node.input[position] = quantise[source.input[0]].input[0]
    ends = {output.name for output in graph.output}
    for kind in reversed(_PAIR):
        used = {name for node in graph.node for name in node.input} | ends
        spare = [n for n in graph.node if n.op_type == kind and n.output[0] not in used]
        for node in spare:
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    weights = {weight.name: weight for weight in (*fp32.initializer, *graph.initializer)}
    kept_weights = [weight for name, weight in weights.items() if name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept_weights)


def _by_output(graph: onnx.GraphProto, kind: str) -> dict[str, onnx.NodeProto]:
    return {node.output[0]: node for node in graph.node if node.op_type == kind}


def _spare_exact_nodes(graph: onnx.GraphProto) -> None:
    """Let exact nodes read what is not quantised, and nothing else be called exact.

    ONNX Runtime hands a tensor that a quantised convolution reads to all its readers quantised.
    """
    quantise, dequantise = _by_output(graph, _PAIR[0]), _by_output(graph, _PAIR[1])
    for node in graph.node:
        if node.op_type in _PAIR:
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
    names = {node.input[1] for node in graph.node if node.op_type in _PAIR}
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
        exact = node.op_type != "Conv" or node.name.startswith(EXACT)
        if exact or node.input[1] in dequantised:
            nodes.append(node)
            continue
        for position, name in enumerate(node.input[1:], start=1):
            # A copy: equal weights are stored once, and another convolution may want them whole.
            node.input[position] = f"{name}/half"
            halves[node.input[position]] = half_constant(weights[name], node.input[position])
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
