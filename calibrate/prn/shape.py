"""What a PRN is built from: stages, sizes, prototypes and proportions. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calibrate.backbones.backbone import Backbone, BackboneError
from calibrate.images import Size

PrnSize = Literal["paper", "compact"]
STRIDES = (4, 8, 16)  # px: the scales that have prototypes
DEEPEST = 32  # px: stride of the decoder's deepest map; the model's size must be a multiple
PATCH_GRIDS = (1, 2, 4, 8)  # patches of side H, H/2, H/4 and H/8


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
