"""How ProtoAD makes a score of its map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from calibrate.images import Size
from engines.score_pixels import MAXIMUM, ScorePixels

Score: TypeAlias = Literal["top", "smoothed", "raw"]
SHARE = 0.01
"""Of the sampled values, the highest, whose mean is the score (docs/protoad.md has the figures)."""
STRIDE = 4  # the smoothed map has a sigma of 4 px: nothing lies between two values that neither has
MAX_COUNT = 3840  # of a row, that TensorRT finds the highest of


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How the map becomes a score.

    Attributes:
        name: ``top``: the mean of the highest values of the smoothed map; ``smoothed``: its
            maximum; ``raw``: the maximum of the map before smoothing.
        share: for ``top``, of the values that are looked at.
    """

    name: Score = "top"
    share: float = SHARE

    def pixels(self, size: Size) -> ScorePixels:
        """Of which values of a map of (height, width) the score is made."""
        if self.name != "top":
            return MAXIMUM
        step = ScorePixels(stride=STRIDE).step
        sampled = len(range(size[0])[step]) * len(range(size[1])[step])
        return ScorePixels(min(MAX_COUNT, max(1, round(self.share * sampled))), STRIDE)

    def kind(self, size: Size) -> str:
        """As a manifest calls it: ``top41/4``, ``smoothed`` or ``raw``."""
        return self.pixels(size).kind if self.name == "top" else self.name


TOP = ScoreRule()
