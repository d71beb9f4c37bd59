"""Of which values of an anomaly map an inspector's score is made."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScorePixels:
    """The score is the mean of the highest among the map's values, or among some of them.

    Attributes:
        count: so many of the highest; 1 is the maximum.
        stride: among every so-manyth value along each axis; 1 is among all.
    """

    count: int = 1
    stride: int = 1

    @property
    def step(self) -> slice:
        """Which values along an axis: every so-manyth, from the middle of the first step on."""
        return slice(self.stride // 2, None, self.stride)

    @property
    def kind(self) -> str:
        """As a manifest calls it, such as ``top100``, or ``top41/4`` of every fourth value."""
        return f"top{self.count}" + (f"/{self.stride}" if self.stride > 1 else "")


MAXIMUM = ScorePixels()


def score_pixels_from_kind(kind: str) -> ScorePixels:
    """What a manifest's kind of score says; any that does not begin with ``top`` is a maximum."""
    found = re.fullmatch(r"top([1-9][0-9]{0,5})(?:/([1-9][0-9]?))?", kind)
    return ScorePixels(int(found[1]), int(found[2] or 1)) if found else MAXIMUM
