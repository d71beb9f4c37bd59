"""What decides a PRN training's result, what does not, and what it tells on the way. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calibrate.prn.shape import PrnSize

TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
DEFAULT_STEPS = 3000
DEFAULT_BATCH = 8
DIVERGED = "the network gives no finite numbers any more; give a lower rate or fp32"


class TrainingError(ValueError):
    """A training cannot be started, gone on with, or finished."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the weights, beside the images.

    Attributes:
        size: proportions of the network.
        steps: batches to train on; see `steps_of_epochs`.
        batch: images a step, half of them with a synthesised defect; even.
        prototypes: of each scale; None = a tenth of the images, at least 1.
        rate: highest learning rate: a short rise, then half a cosine to zero.
        weight_decay: of the convolutions' kernels (AdamW).
        precision: of the trained part: ``auto`` = bf16 where the device is fast at it, else fp32.
            The backbone and the matching are always float32, as when deployed.
        seed: of weights, k-means, order and defects.

    Raises:
        ValueError: a number out of range.
    """

    size: PrnSize = "compact"
    steps: int = DEFAULT_STEPS
    batch: int = DEFAULT_BATCH
    prototypes: int | None = None
    rate: float = 1e-3
    weight_decay: float = 1e-2
    precision: TrainingPrecision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.steps} steps; give at least 1")
        if self.batch < 2 or self.batch % 2:
            raise ValueError(f"batch {self.batch}: half of it is good, half not; give 2, 4, …")
        if self.rate <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"rate {self.rate}, weight decay {self.weight_decay}; give more than 0"
            )


@dataclass(frozen=True, slots=True)
class Validation:
    """How well held-out good images are told from themselves with synthesised defects.

    Attributes:
        step: after how many steps.
        image_auroc, pixel_auroc, average_precision: None where undefined.
    """

    step: int
    image_auroc: float | None
    pixel_auroc: float | None
    average_precision: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands.

    Attributes:
        stage: what is going on.
        share: of it that is done, 0 to 1.
        step, steps: of the training; 0 before.
        loss: mean of the recent steps; None before the first.
        seconds_left: of the training; None before the first step.
        validation: the last one, if any.
    """

    stage: Literal["prototypes", "training", "validation"]
    share: float
    step: int
    steps: int
    loss: float | None = None
    seconds_left: float | None = None
    validation: Validation | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """How a training runs; nothing here changes its result on a CPU.

    Attributes:
        folder: where checkpoints go, and where a stopped training is taken up; None = none.
        device: such as ``cpu`` or ``cuda``; ``auto`` = a GPU if there is one.
        progress: called after every step.
        threads: that synthesise ahead of the training.
        checkpoint_seconds: at least this long between two checkpoints.
        note: what decides the result but cannot be seen here, such as the textures' folder; a
            checkpoint with another note is not taken up.
    """

    folder: Path | None = None
    device: str = "auto"
    progress: Callable[[Progress], None] | None = None
    threads: int = 1
    checkpoint_seconds: float = 60.0
    note: str = ""


def steps_of_epochs(epochs: int, *, images: int, batch: int) -> int:
    """Steps in which each good image is shown `epochs` times as it is."""
    return max(1, -(-epochs * images // (batch // 2)))
