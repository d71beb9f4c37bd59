"""A backbone: an ONNX feature extractor with named stage outputs, read and checked."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto, ValueInfoProto, checker, numpy_helper, shape_inference

from engines.graph_rules import graph_problem
from process.plain_files import MAX_FILE_BYTES, read_plain_file

Triple = tuple[float, float, float]

BUNDLED = Path(__file__).with_name("bundled.onnx")
EXPORTABLE = ("resnet18", "wide_resnet50_2", "mobilenet_v2")
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
MAX_OPSET = 19
PROBE_PX = 256


class BackboneError(ValueError):
    """A backbone file is missing, damaged, or does not keep the contract."""


@dataclass(frozen=True)
class Backbone:
    """A feature extractor, ready to be completed to an inspector's graph.

    Attributes:
        name: such as ``resnet18``; the file's stem where the file does not say.
        model: serialised ONNX with float32 weights. Input ``input``: float32 (N, 3, H, W), RGB,
            ``(image / 255 - mean) / std``. Outputs: the stages, float32 (N, C, H / s, W / s).
        mean: per channel, RGB, in the units of a 0..1 image.
        std: per channel, RGB, in the units of a 0..1 image.
        stages: output name -> stride in px, in the file's order.
        channels: output name -> number of channels.
        sha256: of the file, in hexadecimal.
    """

    name: str
    model: bytes
    mean: Triple
    std: Triple
    stages: dict[str, int]
    channels: dict[str, int]
    sha256: str


def load_backbone(name_or_path: str | Path) -> Backbone:
    """Read the packaged backbone (``bundled``) or an ONNX file, and check it.

    A file from elsewhere is taken when its input and outputs fit; ImageNet's mean and standard
    deviation are then assumed, and its strides come from shape inference at 256 x 256 px.

    Raises:
        BackboneError: no such file, not ONNX, or not a backbone; the message says which.
    """
    path = BUNDLED if str(name_or_path) == "bundled" else Path(name_or_path)
    try:
        content = read_plain_file(path, max_bytes=MAX_FILE_BYTES)
    except FileNotFoundError:
        raise BackboneError(_missing(path)) from None
    except OSError as error:
        raise BackboneError(
            f"{path}: cannot be read ({error.strerror}); give an ONNX file"
        ) from error
    return _backbone_from_onnx(content, path=path)


def _missing(path: Path) -> str:
    if path == BUNDLED:
        return f"{path}: the packaged backbone is missing; install protoedge again"
    if str(path) in EXPORTABLE:
        return (
            f"{path}: no such file; run `edge backbone export {path} --weights FILE "
            f"--output {path}.onnx`, then give `--backbone {path}.onnx`"
        )
    return f"{path}: no such file; give `bundled` or the path of a backbone's ONNX file"


def _backbone_from_onnx(content: bytes, *, path: Path) -> Backbone:
    """Parse and check the bytes of a file; `path` is for messages and for the name."""
    model = _parse(content, path=path)
    _check_opset(model, path=path)
    _check_storage(model, path=path)
    _check_input(model, path=path)
    _check_outputs(model, path=path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    _check_kind(metadata, path=path)
    stages, channels = _stages(model, path=path)
    _unfold_half(model)
    return Backbone(
        name=metadata.get("protoedge.name", path.stem),
        model=model.SerializeToString(),
        mean=_triple(metadata, "protoedge.mean", default=IMAGENET_MEAN, path=path),
        std=_triple(metadata, "protoedge.std", default=IMAGENET_STD, path=path),
        stages=stages,
        channels=channels,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _unfold_half(model: ModelProto) -> None:
    """Turn weights that are stored as FP16 with a Cast into plain float32 weights, in place.

    FP16 storage halves the file; the Cast nodes would only cost time and hide the weights from
    whoever quantises or fuses them.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        tensor = stored.get(node.input[0]) if node.op_type == "Cast" else None
        is_half = tensor is not None and tensor.data_type == TensorProto.FLOAT16
        if tensor is None or not is_half or node.attribute[0].i != TensorProto.FLOAT:
            kept.append(node)
            continue
        values = numpy_helper.to_array(tensor).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(remaining)


def _parse(content: bytes, *, path: Path) -> ModelProto:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise BackboneError(f"{path}: is not an ONNX file; export it again") from error
    if not model.graph.node or not model.opset_import:
        raise BackboneError(f"{path}: is not an ONNX file with a graph; export it again")
    texts = [value.name for value in (*model.graph.input, *model.graph.output)]
    texts += [text for entry in model.metadata_props for text in (entry.key, entry.value)]
    if not all(isinstance(text, str) for text in texts):  # protobuf gives broken UTF-8 as bytes
        raise BackboneError(f"{path}: holds text that is not UTF-8; export it again")
    return model


def _check_opset(model: ModelProto, *, path: Path) -> None:
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            raise BackboneError(
                f"{path}: uses operators of {opset.domain!r}; export it with standard ones only"
            )
        if opset.version > MAX_OPSET:
            raise BackboneError(
                f"{path}: has opset {opset.version}; export it with opset {MAX_OPSET} or lower"
            )


def _check_storage(model: ModelProto, *, path: Path) -> None:
    problem = graph_problem(model)
    if problem:
        raise BackboneError(f"{path}: {problem}; save it as a single file of ONNX's own operators")
    try:
        checker.check_model(model)
    except (checker.ValidationError, UnicodeDecodeError) as error:  # the latter from its message
        reason = str(error).strip().splitlines()[0]
        raise BackboneError(f"{path}: is not valid ONNX ({reason}); export it again") from error
    for tensor in model.graph.initializer:
        _check_weight(tensor, path=path)


def _check_weight(tensor: TensorProto, *, path: Path) -> None:
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise BackboneError(
            f"{path}: weight {tensor.name} is damaged; export the file again"
        ) from error
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BackboneError(f"{path}: weight {tensor.name} is not finite; export it again")


def _check_input(model: ModelProto, *, path: Path) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if [value.name for value in inputs] != ["input"]:
        names = ", ".join(value.name for value in inputs) or "none"
        raise BackboneError(f"{path}: needs one input called `input`, has {names}; rename it")
    kind = inputs[0].type.tensor_type
    sizes = kind.shape.dim
    if kind.elem_type != TensorProto.FLOAT or len(sizes) != 4 or sizes[1].dim_value not in (0, 3):
        raise BackboneError(
            f"{path}: input `input` is {_describe(inputs[0])}; it must be float32 (N, 3, H, W)"
        )


def _check_outputs(model: ModelProto, *, path: Path) -> None:
    if not model.graph.output:
        raise BackboneError(f"{path}: has no stage outputs; name feature maps as graph outputs")
    for value in model.graph.output:
        kind = value.type.tensor_type
        has_rank = kind.HasField("shape")
        if kind.elem_type != TensorProto.FLOAT or (has_rank and len(kind.shape.dim) != 4):
            raise BackboneError(
                f"{path}: output `{value.name}` is {_describe(value)}; a stage must be float32 "
                "(N, C, H, W): cut the graph at its feature maps"
            )


def _check_kind(metadata: dict[str, str], *, path: Path) -> None:
    kind = metadata.get("protoedge.kind", "backbone")
    if kind != "backbone":
        raise BackboneError(f"{path}: is a {kind}, not a backbone; give a backbone's ONNX file")
    color = metadata.get("protoedge.color", "rgb")
    if color != "rgb":
        raise BackboneError(f"{path}: expects {color}; only backbones for rgb are supported")


def _stages(model: ModelProto, *, path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Stride and channels of each output, from shape inference at 256 x 256 px."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    image = next(value for value in fixed.graph.input if value.name == "input")
    sizes = (1, 3, PROBE_PX, PROBE_PX)
    for dim, size in zip(image.type.tensor_type.shape.dim, sizes, strict=True):
        dim.dim_value = size
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, UnicodeDecodeError) as error:
        raise BackboneError(
            f"{path}: does not accept images of {PROBE_PX} x {PROBE_PX} px; export it with "
            "dynamic height and width"
        ) from error
    strides: dict[str, int] = {}
    channels: dict[str, int] = {}
    for value in inferred.graph.output:
        found = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if len(found) != 4 or min(found) < 1 or found[2] != found[3] or PROBE_PX % found[2]:
            raise BackboneError(
                f"{path}: output `{value.name}` of a {PROBE_PX} x {PROBE_PX} px image is "
                f"{_describe(value)}; a stage must be (N, C, H / stride, W / stride)"
            )
        strides[value.name], channels[value.name] = PROBE_PX // found[2], found[1]
    return strides, channels


def _triple(metadata: dict[str, str], key: str, *, default: Triple, path: Path) -> Triple:
    if key not in metadata:
        return default
    fault = f"{path}: {key} is {metadata[key]!r}; it must be a JSON list of three numbers > 0"
    try:
        values = json.loads(metadata[key])
    except json.JSONDecodeError as error:
        raise BackboneError(fault) from error
    if not isinstance(values, list) or len(values) != 3:
        raise BackboneError(fault)
    if not all(isinstance(v, (int, float)) and math.isfinite(v) and v > 0 for v in values):
        raise BackboneError(fault)
    return (float(values[0]), float(values[1]), float(values[2]))


def _describe(value: ValueInfoProto) -> str:
    """Such as ``float16 (N, 3, 224, 224)``."""
    kind = value.type.tensor_type
    known = TensorProto.DataType.DESCRIPTOR.values_by_number
    name = known[kind.elem_type].name.lower() if kind.elem_type in known else "of unknown type"
    sizes = [dim.dim_param or str(dim.dim_value or "?") for dim in kind.shape.dim]
    return f"{name} ({', '.join(sizes)})"
