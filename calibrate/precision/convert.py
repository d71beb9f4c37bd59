"""Precision is a property of the graph: fp32 → fp16 by casts, fp32 → int8 by Q/DQ pairs.

The same file then feeds every engine; no engine builder takes a precision option.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, shape_inference

from calibrate.node_names import PREPROCESSING, HigherPrecisionNodes
from calibrate.precision.int8 import PrecisionError, Quantised, half_constant, name_exact
from engines.engine import EXACT, Precision

CALIBRATION_IMAGES = 128
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


class Conversion:
    """A graph on its way to a precision, as often as wanted: value ranges are measured once.

    Nodes whose names begin with `engines.engine.EXACT` stay float32, and so do their constants.

    Args:
        model: serialised ONNX in fp32, static shapes, that begins with our preprocessing.
        precision: ``fp32`` leaves it as it is. ``fp16``: everything after the normalisation of
            the image in half precision. ``int8``: convolutions of at least 32 input channels
            but the first with symmetric per-channel INT8 weights and per-tensor INT8 inputs,
            calibrated to hold all but a hundred-thousandth of the values on each side; the other
            convolutions in fp16.
        calibration: images on which value ranges are measured, (n, H, W, 3) uint8 BGR; for int8
            alone.

    Attributes:
        fp32: the graph in fp32, every node with a name.
        precision: that it is brought to.

    Raises:
        PrecisionError: int8 without a calibration image.
    """

    def __init__(
        self,
        model: bytes,
        precision: Precision,
        *,
        calibration: Iterable[npt.NDArray[np.uint8]] = (),
    ) -> None:
        self.fp32 = _name_nodes(model)
        self.precision = precision
        self._quantised = Quantised(self.fp32, calibration) if precision == "int8" else None

    @property
    def quantised(self) -> frozenset[str]:
        """Names of the convolutions that become INT8."""
        return self._quantised.convolutions if self._quantised else frozenset()

    def model(self, higher: HigherPrecisionNodes | None = None) -> bytes:
        """The graph at the precision, some nodes above it.

        Raises:
            PrecisionError: a name that no node has.
        """
        higher = higher or {}
        graph = onnx.load_model_from_string(self.fp32)
        unknown = sorted(set(higher) - {node.name for node in graph.graph.node})
        if unknown:
            raise PrecisionError(f"no node {unknown[0]!r}; name nodes of the fp32 graph")
        if self.precision == "fp32":
            return self.fp32
        if self._quantised is not None:
            return self._quantised.model(higher)
        name_exact(graph.graph, higher)
        return _half(graph)


def _name_nodes(model: bytes) -> bytes:
    """Give every node a name; a graph whose nodes all have one stays as it is, byte by byte."""
    graph = onnx.load_model_from_string(model)
    nameless = [(index, node) for index, node in enumerate(graph.graph.node) if not node.name]
    for index, node in nameless:
        node.name = f"{node.op_type}/{index}"
    return bytes(graph.SerializeToString()) if nameless else model


def _half(model: onnx.ModelProto) -> bytes:
    """Convert all but the preprocessing, whose 0..255 values need float32, and exact nodes."""
    whole = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    Halving(whole.graph).convert()
    return bytes(whole.SerializeToString())


class Halving:
    """Gives each node the type it computes in, with a Cast wherever two of them differ.

    Args:
        graph: with its shapes inferred.
        as_it_is: how names of nodes begin that keep the types they have.
    """

    def __init__(self, graph: onnx.GraphProto, *, as_it_is: tuple[str, ...] = ()) -> None:
        self._graph = graph
        self._as_it_is = as_it_is
        self._constants = {weight.name: weight for weight in graph.initializer}
        self._types = {name: weight.data_type for name, weight in self._constants.items()}
        for value in (*graph.input, *graph.value_info, *graph.output):
            self._types[value.name] = value.type.tensor_type.elem_type
        self._given = dict(self._types)
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
        stays = node.name.startswith(self._as_it_is)
        exact = node.name.startswith((PREPROCESSING, EXACT))
        wanted = TensorProto.FLOAT if exact else TensorProto.FLOAT16
        for position, name in enumerate(node.input):
            factors = node.op_type == "Resize" and position > 0  # always float32
            if self._types.get(name) in _FLOATS and not factors:
                node.input[position] = self._as(name, self._given[name] if stays else wanted)
        self._nodes.append(node)
        for name in node.output:
            if self._types.get(name) in _FLOATS and not stays:
                self._types[name] = wanted

    def _as(self, name: str, wanted: int) -> str:
        """The name under which a value is to be had in a type; a Cast is made once."""
        if self._types[name] == wanted:
            return name
        other = f"{name}/{'half' if wanted == TensorProto.FLOAT16 else 'float'}"
        if name in self._constants and other in self._constants:
            return other  # an int8 graph's own copy, for a convolution that it left in fp16
        if name in self._constants:
            self._made[other] = half_constant(self._constants[name], other)
        elif other not in self._cast:
            self._cast.add(other)
            title = other.removeprefix(EXACT)  # what it gives is not exact
            self._nodes.append(helper.make_node("Cast", [name], [other], name=title, to=wanted))
        return other
