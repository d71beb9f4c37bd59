"""A trained PRN as one safetensors file: weights, prototypes and the shape."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from calibrate.prn.network.network import PRN
from calibrate.prn.options import TrainingError
from calibrate.prn.shape import Shape

KIND = "prn"


def save_network(network: PRN, path: Path, *, note: str = "") -> Path:
    """Write a network, whole or not at all.

    Args:
        network: on any device.
        path: of the file.
        note: such as what it was trained on; kept in the file.

    Raises:
        TrainingError: the file cannot be written.
    """
    metadata = {"kind": KIND, "shape": json.dumps(asdict(network.shape)), "note": note}
    write_tensors(network.state_dict(), path, metadata=metadata)
    return path


def load_network(path: Path) -> PRN:
    """Read a network that `save_network` wrote; it is in evaluation mode, on the CPU.

    Raises:
        TrainingError: no such file, or it is damaged or something else.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("kind") != KIND:
        raise TrainingError(f"{path}: holds no PRN; give a file that a PRN training wrote")
    network = PRN(shape_from_json(metadata["shape"]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise TrainingError(f"{path}: does not fit its own shape; train again") from error
    return network.eval()


def shape_from_json(text: str) -> Shape:
    """Undo ``json.dumps(asdict(shape))``."""
    values = json.loads(text)
    height, width = values["image_size"]
    return Shape(
        stages=tuple(values["stages"]),
        channels=tuple(values["channels"]),
        image_size=(height, width),
        prototypes=tuple(values["prototypes"]),
        size=values["size"],
    )


def write_tensors(tensors: Mapping[str, Tensor], path: Path, *, metadata: dict[str, str]) -> None:
    """Write safetensors beside `path`, then put the file in its place.

    Raises:
        TrainingError: it cannot be written.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    part = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        save_file(kept, part, metadata=metadata)
        with part.open("rb+") as file:  # the name must not reach the disk before the content
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: cannot be written ({error}); check the path and the space left"
        ) from error
    finally:
        if part != path:
            part.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file.

    Raises:
        TrainingError: no such file, or no safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: cannot be read ({error}); delete it and train again"
        ) from error
