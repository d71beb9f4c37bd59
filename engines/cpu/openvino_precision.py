"""Precision in OpenVINO's CPU plugin: bf16 convolutions, an f32 end of the graph, int8 concats.

Under the hint bf16 the plugin keeps f32 only what lies between the last *heavy* node and the
output, and MatMul and Interpolate count as heavy: with a smoothing MatMul at the end of our graph,
the L2 norm, the maximum and ``1 - max`` before it would run in bf16, whose steps are 0.004 in
[0.5, 1). The plugin leaves alone a node that carries the run-time attribute ``precise``; Python
cannot set it, but the reader of OpenVINO's own format does, so the graph takes a turn through it.
The attribute is lost when the plugin rewrites Interpolate-11 as Interpolate-4, which is therefore
done here first.

Source: OpenVINO's intel_cpu, ``Graph::EnforceInferencePrecision``, ``Node::keepOrigPrecision``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from engines.engine import EXACT
from engines.errors import EngineError

CONVOLUTIONS = frozenset(
    {
        "Convolution",
        "GroupConvolution",
        "ConvolutionBackpropData",
        "GroupConvolutionBackpropData",
    }
)
NOT_COMPUTED = frozenset({"Constant", "Const", "Parameter", "Result"})
EXECUTED_CONVOLUTIONS = frozenset({"Convolution", "Deconvolution"})
EXECUTED_PRODUCTS = frozenset({"FullyConnected", "MatMul"})
EXECUTED_COPIES = frozenset({"Reorder", "Reshape", "Const"})  # these compute nothing


def compile_mixed(
    core: Any, graph: Any, config: Mapping[str, object], *, kept: frozenset[str]
) -> Any:
    """Compile with bf16 convolutions and some nodes in f32.

    Where a plugin does not honour the attribute, the whole graph runs in f32: slower, never wrong.

    Args:
        core: `openvino.Core`.
        graph: `openvino.Model`; it is changed.
        config: of the plugin; the precision hint is replaced.
        kept: nodes that compute in f32; see `choose_f32_nodes`.
    """
    _interpolate_11_as_4(graph, kept)
    marked = _mark_graph(core, graph, kept)
    compiled = core.compile_model(marked, "CPU", {**config, "INFERENCE_PRECISION_HINT": "bf16"})
    if not find_low_precision(compiled, kept):
        return compiled
    return core.compile_model(marked, "CPU", {**config, "INFERENCE_PRECISION_HINT": "f32"})


def choose_f32_nodes(graph: Any) -> frozenset[str]:
    """Names of the nodes that must not run in bf16.

    These are the nodes whose names begin with `engines.engine.EXACT`; those from which no
    convolution is reached any more (the head after its prototypes, and the smoothing); and, in a
    graph with fp16 parts and no quantised ones, every node behind a convolution that the graph
    itself keeps in fp32 by its casts.
    """
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() not in NOT_COMPUTED]
    types = {node.get_type_name() for node in nodes}
    casts_decide = _has_half(graph) and not types & {"FakeQuantize", "QuantizeLinear"}
    leads_to_convolution: set[str] = set()
    for node in reversed(nodes):
        for consumer in _consumers(node):
            name = consumer.get_friendly_name()
            if consumer.get_type_name() in CONVOLUTIONS or name in leads_to_convolution:
                leads_to_convolution.add(node.get_friendly_name())
    behind_convolution: set[str] = set()
    kept = set()
    for node in nodes:
        name, is_convolution = node.get_friendly_name(), node.get_type_name() in CONVOLUTIONS
        if is_convolution or any(
            _source(value).get_friendly_name() in behind_convolution for value in node.inputs()
        ):
            behind_convolution.add(name)
        explicit = casts_decide and name in behind_convolution and _is_f32(node)
        if (
            name.startswith(EXACT)
            or explicit
            or (not is_convolution and name not in leads_to_convolution)
        ):
            kept.add(name)
    return frozenset(kept)


def executes(compiled: Any) -> str:
    """The arithmetic of the convolutions that really run, such as ``bf16`` or ``int8+bf16``.

    Taken from the plugin's description of what it compiled; graphs without convolutions are
    described by their matrix products.
    """
    kinds: dict[str, set[str]] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kinds.setdefault(_text(info, "layerType"), set()).add(_kind(_text(info, "primitiveType")))
    for wanted in (EXECUTED_CONVOLUTIONS, EXECUTED_PRODUCTS):
        found = set().union(*(kinds.get(name, set()) for name in wanted))
        if found:
            return "+".join(kind for kind in ("int8", "bf16", "fp16", "f32") if kind in found)
    return "f32"


def find_low_precision(compiled: Any, names: Iterable[str]) -> list[str]:
    """Executed nodes that stem from `names` and compute in bf16 all the same.

    A convolution that swallowed a following addition counts as a convolution.
    """
    wanted = set(names)
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        stems_from = set(_text(info, "originalLayersNames").split(","))
        computes = _text(info, "layerType") not in EXECUTED_CONVOLUTIONS | EXECUTED_COPIES
        if computes and stems_from & wanted and _text(info, "runtimePrecision") in ("bf16", "f16"):
            found.append(node.get_friendly_name())
    return found


def round_concats_unsigned(model: bytes) -> bytes:
    """Round what is concatenated to 0..255 around 128 instead of -128..127; the same numbers.

    A way around a defect of OpenVINO's int8 (2026.4): where a concatenation is rounded to int8 for
    a convolution, it rounds each part before it is concatenated, as bytes without a sign, and loses
    the shift that goes with them: a 3x3 convolution of random numbers is off by a quarter of its
    size. With the shift spelt out, the same values come out right. TensorRT wants bytes with a
    sign, so the graph has those, and they are changed here, on the way in.

    Args:
        model: serialised ONNX.

    Returns:
        The same bytes where nothing is to be changed.
    """
    if b"Concat" not in model:
        return model
    import numpy as np
    import onnx  # takes a while, and graphs of other precisions do not need it
    from onnx import numpy_helper

    whole = onnx.load_model_from_string(model)
    concats = {node.output[0] for node in whole.graph.node if node.op_type == "Concat"}
    rounding = [
        node
        for node in whole.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in concats
    ]
    if not rounding:
        return model
    middle = "openvino/middle"
    whole.graph.initializer.append(numpy_helper.from_array(np.array(128, np.uint8), middle))
    integers = {node.output[0] for node in rounding}
    for node in whole.graph.node:
        reads = node.op_type == "DequantizeLinear" and node.input[0] in integers
        if reads or node in rounding:
            node.input[2] = middle
    return bytes(whole.SerializeToString())


def _interpolate_11_as_4(graph: Any, names: frozenset[str]) -> None:
    """Replace kept up-samplings by the older operation that the plugin runs, same arithmetic."""
    import numpy as np
    from openvino import opset10

    for node in graph.get_ordered_ops():
        kind = node.get_type_info()
        if node.get_friendly_name() not in names or kind.name != "Interpolate":
            continue
        if kind.version_id != "opset11" or len(node.inputs()) > 2:
            continue  # explicit axes: left to the plugin, and to the check of what it compiled
        given = node.get_attributes()
        if given["shape_calculation_mode"] != "scales":
            continue
        shape = np.array(list(node.get_output_shape(0)), np.int64)
        older = opset10.interpolate(
            node.input_value(0),
            opset10.constant(shape),
            node.input_value(1),
            **{key: given[key] for key in _INTERPOLATE if key in given},
            axes=opset10.constant(np.arange(len(shape), dtype=np.int64)),
        )
        older.set_friendly_name(node.get_friendly_name())
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(older.output(0))
    graph.validate_nodes_and_infer_types()


_INTERPOLATE = (
    "mode",
    "shape_calculation_mode",
    "pads_begin",
    "pads_end",
    "coordinate_transformation_mode",
    "nearest_mode",
    "antialias",
    "cube_coeff",
)


def _mark_graph(core: Any, graph: Any, names: frozenset[str]) -> Any:
    """The same graph, its nodes called `names` carrying the attribute ``precise``."""
    import openvino

    try:
        with tempfile.TemporaryDirectory(prefix="protoedge-") as folder:
            path = Path(folder) / "graph.xml"
            _serialise(openvino, graph, path)
            tree = ElementTree.parse(path)
            for layer in tree.iterfind("layers/layer"):
                if layer.get("name") in names and layer.get("type") not in NOT_COMPUTED:
                    _mark(layer)
            tree.write(path, encoding="utf-8")
            return core.read_model(path)
    except OSError as error:
        raise EngineError(
            f"openvino: no room for a temporary copy of the graph: {error}; free some space in "
            f"{tempfile.gettempdir()} or set TMPDIR"
        ) from error


def _serialise(openvino: Any, graph: Any, path: Path) -> None:
    try:
        openvino.serialize(graph, path, path.with_suffix(".bin"))
    except RuntimeError as error:
        # A full disk arrives as "iostream error"; a graph that was just read can be written.
        raise OSError(" ".join(str(error).split())[:200]) from error


def _mark(layer: ElementTree.Element) -> None:
    info = layer.find("rt_info")
    if info is None:
        info = ElementTree.Element("rt_info")
        # The reader wants it behind <data> and before <input>.
        layer.insert(0 if layer.find("data") is None else 1, info)
    ElementTree.SubElement(info, "attribute", name="precise", version="0")


def _consumers(node: Any) -> list[Any]:
    return [target.get_node() for output in node.outputs() for target in output.get_target_inputs()]


def _source(value: Any) -> Any:
    return value.get_source_output().get_node()


def _has_half(graph: Any) -> bool:
    return any(
        output.get_element_type().get_type_name() == "f16"
        for node in graph.get_ordered_ops()
        for output in node.outputs()
    )


def _is_f32(node: Any) -> bool:
    return all(output.get_element_type().get_type_name() == "f32" for output in node.outputs())


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def _kind(primitive: str) -> str:
    """``brgconv_avx512_bf16`` to ``bf16``."""
    ending = primitive.rsplit("_", 1)[-1].lower()
    return {"i8": "int8", "u8": "int8", "f16": "fp16"}.get(ending, ending)
