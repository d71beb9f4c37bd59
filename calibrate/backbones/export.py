"""Export a backbone: weights of a known network to an ONNX file with named stages.

torch is needed only to open a ``.pth`` or ``.pt`` file.
"""

from __future__ import annotations

from pathlib import Path

from calibrate.backbones.architectures import ARCHITECTURES
from calibrate.backbones.backbone import BackboneError
from calibrate.backbones.graph import GraphWriter, write_model
from calibrate.backbones.weights import downloaded_weights, read_weights
from process.plain_files import sha256_of


def export_backbone(name: str, *, weights: Path | None, output: Path) -> Path:
    """Write the ONNX file of a network that `calibrate.backbones.architectures` knows.

    Args:
        name: ``resnet18``, ``wide_resnet50_2`` or ``mobilenet_v2``.
        weights: a checkpoint (``.safetensors``, ``.pth``, ``.pt``) under torchvision's or timm's
            names; None downloads the ImageNet weights from the Hugging Face hub.
        output: the file to write, whole or not at all.

    Returns:
        `output`.

    Raises:
        BackboneError: unknown name, weights that do not fit, no connection, or not writable.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BackboneError(f"{name}: no such network; choose one of {known}")
    network = ARCHITECTURES[name]
    origin = f"{network.repository}, licence {network.licence}"
    path = downloaded_weights(network.repository) if weights is None else weights
    writer, tensors = GraphWriter(), read_weights(path)
    stages = network.walk(writer, tensors)
    tensors.finish(network.ignored)
    source = f"{origin if weights is None else path.name}, sha256 {sha256_of(path)}"
    return write_model(writer.model(stages, name=name, source=source), output=output)
