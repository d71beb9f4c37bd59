"""What a PRN is built from, what decides its training, and what that tells on the way. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calibrate.backbones.backbone import Backbone, BackboneError
from calibrate.images import Size

PrnSize = Literal["paper", "compact"]
STRIDES = (4, 8, 16)  # px: the scales that have prototypes
DEEPEST = 32  # px: stride of the decoder's deepest map; the model's size must be a multiple
PATCH_GRIDS = (1, 2, 4, 8)  # patches of side H, H/2, H/4 and H/8
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
SCORE_PIXELS = 100  # the highest of a map, whose mean is an image's score
DIVERGED = "the network gives no finite numbers any more; give a lower rate or fp32"


class TrainingError(ValueError):
    """A training cannot be started, gone on with, or finished."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
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
    steps: int = 3000
    batch: int = 8
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


@dataclass(frozen=True, slots=True)
class Proportions:
    """How wide and deep the trained part is; one number a scale, finest first.

    Attributes:
        widths: channels in the attention and in its 3x3 convolutions.
        repeats: attention blocks a scale (N in the paper).
        decoder: channels of the decoder's levels.
        deepest: channels of the decoder's deepest map.
    """

    widths: tuple[int, ...]
    repeats: int
    decoder: tuple[int, ...]
    deepest: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything that fixes a PRN's parameters, but not their values.

    Attributes:
        stages: names of the backbone's outputs at strides 4, 8 and 16.
        channels: theirs.
        image_size: (height, width) in px; multiples of 32.
        prototypes: how many there are on each scale (K).
        size: ``paper``: the paper's proportions; ``compact``: what a CPU can train.

    Raises:
        ValueError: a size that 32 does not divide, or a count below 1.
    """

    stages: tuple[str, ...]
    channels: tuple[int, ...]
    image_size: Size
    prototypes: tuple[int, ...]
    size: PrnSize = "compact"

    def __post_init__(self) -> None:
        if min(self.image_size) < DEEPEST or any(side % DEEPEST for side in self.image_size):
            raise ValueError(
                f"size {self.image_size[1]}x{self.image_size[0]}: PRN needs multiples of "
                f"{DEEPEST} px; give such a size"
            )
        counts = (len(self.stages), len(self.channels), len(self.prototypes))
        if counts != (len(STRIDES),) * 3:
            raise ValueError(f"{counts} stages, channels and prototypes; PRN has {len(STRIDES)}")
        if min(self.prototypes) < 1 or min(self.channels) < 1:
            raise ValueError("a scale without prototypes or channels; give at least 1")

    @property
    def sizes(self) -> tuple[Size, ...]:
        """(height, width) of each stage."""
        height, width = self.image_size
        return tuple((height // stride, width // stride) for stride in STRIDES)

    @property
    def proportions(self) -> Proportions:
        """Of `size`, for these channels."""
        if self.size == "paper":
            widths = tuple(2 * channels for channels in self.channels)
            return Proportions(
                widths=widths,
                repeats=3,
                decoder=self.channels,
                deepest=2 * self.channels[-1],
            )
        return Proportions(
            widths=(16, 32, 64),
            repeats=1,
            decoder=(24, 32, 64),
            deepest=96,
        )


def shape_of(
    backbone: Backbone,
    *,
    image_size: Size,
    prototypes: Sequence[int],
    size: PrnSize = "compact",
) -> Shape:
    """The shape of a PRN on a backbone.

    Args:
        backbone: gives the stages' names and channels.
        image_size: (height, width) in px.
        prototypes: of each scale.
        size: ``paper`` or ``compact``.

    Raises:
        BackboneError: it has no stage at stride 4, 8 or 16.
        ValueError: a size that 32 does not divide.
    """
    names = prn_stages(backbone)
    channels = tuple(backbone.channels[name] for name in names)
    return Shape(names, channels, image_size, tuple(prototypes), size)


def prn_stages(backbone: Backbone) -> tuple[str, ...]:
    """The backbone's stages at strides 4, 8 and 16.

    Raises:
        BackboneError: there is none at one of them.
    """
    at = {stride: name for name, stride in reversed(backbone.stages.items())}
    missing = [str(stride) for stride in STRIDES if stride not in at]
    if missing:
        raise BackboneError(
            f"{backbone.name}: has no stage at stride {', '.join(missing)}, which PRN needs; "
            "give `--backbone bundled` or export one with layer1, layer2 and layer3"
        )
    return tuple(at[stride] for stride in STRIDES)
