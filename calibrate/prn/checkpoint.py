"""Checkpoints of a PRN training: everything that the next step depends on, in one file.

A step's images depend on the seed and the step alone, and nothing else in a step is random; so
weights, batch normalisation, the optimiser's moments and the step are all there is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import AdamW

from calibrate.images import Image
from calibrate.prn.network.network import PRN
from calibrate.prn.options import Shape, TrainingError, TrainingOptions, Validation

FILE = "checkpoint.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, slots=True)
class History:
    """What a training was like.

    Attributes:
        losses: of every step.
        validations: in their order.
    """

    losses: tuple[float, ...] = ()
    validations: tuple[Validation, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return len(self.losses)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A training that was stopped.

    Attributes:
        shape: of the network.
        tensors: ``network.NAME`` and ``optimiser.NAME.KIND``.
        history: up to it.
        scaler: the loss scale's state, for fp16; empty otherwise.
        seconds: that the training had taken.
    """

    shape: Shape
    tensors: dict[str, Tensor]
    history: History
    scaler: dict[str, float]
    seconds: float


def identity(options: TrainingOptions, *, images: Sequence[Image], backbone: str, note: str) -> str:
    """What a run must share with a checkpoint to go on from it, as JSON.

    Args:
        options: with the precision that is in use, not ``auto``.
        images: all that are trained on.
        backbone: its SHA-256.
        note: of the run.
    """
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.tobytes())
    parts = {**asdict(options), "images": digest.hexdigest(), "backbone": backbone, "note": note}
    return json.dumps(parts, sort_keys=True)


def save_checkpoint(
    folder: Path,
    *,
    network: PRN,
    optimiser: AdamW,
    history: History,
    identity: str,
    scaler: dict[str, float],
    seconds: float,
) -> None:
    """Replace the folder's checkpoint, whole or not at all.

    Raises:
        TrainingError: it cannot be written.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for kind, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{name}.{kind}"] = value
    metadata = {
        "identity": identity,
        "shape": json.dumps(asdict(network.shape)),
        "losses": json.dumps(history.losses),
        "validations": json.dumps([asdict(item) for item in history.validations]),
        "scaler": json.dumps(scaler),
        "seconds": json.dumps(seconds),
    }
    _write_tensors(tensors, folder / FILE, metadata=metadata)


def load_checkpoint(folder: Path, *, identity: str) -> Checkpoint | None:
    """The folder's checkpoint; None where there is none yet.

    Raises:
        TrainingError: it is damaged, or of another run; the message says what differs.
    """
    path = folder / FILE
    if not path.exists():
        return None
    tensors, metadata = _read_tensors(path)
    if "identity" not in metadata:
        raise TrainingError(f"{path}: is no checkpoint of a PRN training; delete it")
    _check_identity(path, found=json.loads(metadata["identity"]), wanted=json.loads(identity))
    validations = [Validation(**item) for item in json.loads(metadata["validations"])]
    return Checkpoint(
        shape=_shape_from_json(metadata["shape"]),
        tensors=tensors,
        history=History(tuple(json.loads(metadata["losses"])), tuple(validations)),
        scaler=json.loads(metadata["scaler"]),
        seconds=json.loads(metadata["seconds"]),
    )


def restore(checkpoint: Checkpoint, *, network: PRN, optimiser: AdamW) -> None:
    """Put weights and moments back where they were."""
    tensors = checkpoint.tensors
    network.load_state_dict(
        {name[8:]: value for name, value in tensors.items() if name.startswith("network.")}
    )
    for name, parameter in network.named_parameters():
        kept = {kind: tensors.get(f"optimiser.{name}.{kind}") for kind in MOMENTS}
        if kept["step"] is not None:
            optimiser.state[parameter] = {
                # AdamW keeps its step count on the CPU.
                kind: value.to("cpu" if kind == "step" else parameter.device)
                for kind, value in kept.items()
                if value is not None
            }


def _check_identity(path: Path, *, found: dict[str, object], wanted: dict[str, object]) -> None:
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        raise TrainingError(
            f"{path}: is of a training with other {', '.join(differing)}; give them as before, "
            "another folder, or delete it"
        )


def _shape_from_json(text: str) -> Shape:
    """Undo ``json.dumps(asdict(shape))``."""
    parts = json.loads(text).items()
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in parts}
    return Shape(**values)


def _write_tensors(tensors: Mapping[str, Tensor], path: Path, *, metadata: dict[str, str]) -> None:
    """Write safetensors beside `path`, then put the file in its place.

    Raises:
        TrainingError: it cannot be written.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(kept, part, metadata=metadata)
        with part.open("rb+") as file:  # the name must not reach the disk before the content
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise TrainingError(
            f"{path}: cannot be written ({error}); check the path and the space left"
        ) from error


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
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
