"""A backbone: an ONNX feature extractor with named stage outputs, read and checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

BUNDLED = Path(__file__).with_name("bundled.onnx")
EXPORTABLE = ("resnet18", "wide_resnet50_2", "mobilenet_v2")


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
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
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
    # onnx takes a while to import, and many commands never load a backbone.
    from calibrate.backbones.contract import checked_backbone

    path = BUNDLED if str(name_or_path) == "bundled" else Path(name_or_path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BackboneError(_missing(path)) from None
    except OSError as error:
        raise BackboneError(
            f"{path}: cannot be read ({error.strerror}); give an ONNX file"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    return checked_backbone(content, path=path, sha256=digest)


def _missing(path: Path) -> str:
    if path == BUNDLED:
        return f"{path}: the packaged backbone is missing; install protoedge again"
    if str(path) in EXPORTABLE:
        return (
            f"{path}: no such file; run `edge backbone export {path} --weights FILE "
            f"--output {path}.onnx`, then give `--backbone {path}.onnx`"
        )
    return f"{path}: no such file; give `bundled` or the path of a backbone's ONNX file"
