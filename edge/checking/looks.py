"""How each good image looks beside the others: black, burnt out, too dark, too light, blurred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from cameras.redaction import printable_path
from edge.health.measurements import ImageStats

Look: TypeAlias = Literal["black", "burnt out", "darker", "lighter", "blurred"]
Figures: TypeAlias = npt.NDArray[np.float64]

BLACK = 8.0  # grey level that one pixel in a hundred exceeds
BURNT_OUT = 0.9  # share of the pixels
LIGHT = 1.5  # times as light as the usual image, or so many times darker
SHARP = 0.7  # of the usual sharpness
SPREADS = 6.0  # robust standard deviations from the usual image
TO_DEVIATION = 1.4826  # from a median of distances, where they are normal
NAMED = 5


@dataclass(frozen=True, slots=True)
class LookFinding:
    """Images that look unlike what a good picture looks like.

    Attributes:
        look: in which way.
        paths: of all such images.
    """

    look: Look
    paths: tuple[Path, ...]

    @property
    def text(self) -> str:
        """How many, which, and what to do, in one line."""
        count, names = len(self.paths), [printable_path(one.name) for one in self.paths[:NAMED]]
        more = f" and {count - NAMED} more" if count > NAMED else ""
        what = {
            "black": "all black",
            "burnt out": "all white",
            "darker": "much darker than the others",
            "lighter": "much lighter than the others",
            "blurred": "less sharp than the others",
        }[self.look]
        noun = "good image is" if count == 1 else "good images are"
        return f"{count} {noun} {what}: {', '.join(names)}{more}; look at them"


@dataclass(frozen=True, slots=True)
class ImageLooks:
    """Light and sharpness of a set: what is usual, and which images are unlike it.

    Attributes:
        light: mean grey level, 0 to 255, of the median image.
        burnt_out: share of white pixels of the median image.
        sharpness: of the median image (`edge.health.measurements.ImageStats`).
        findings: images unlike the others, or of nothing.
    """

    light: float
    burnt_out: float
    sharpness: float
    findings: tuple[LookFinding, ...]


def looks_of(paths: Sequence[Path], stats: Sequence[ImageStats]) -> ImageLooks:
    """Look at all images of a set; `stats` are theirs, in their order."""
    light = np.array([float(one.light.mean()) for one in stats])
    white = np.array([one.white for one in stats])
    sharp = np.array([one.sharpness for one in stats])
    black = np.array([one.brightness for one in stats]) <= BLACK
    burnt = ~black & (white >= BURNT_OUT)
    seen = ~(black | burnt)
    usual = float(np.median(light[seen])) if seen.any() else 0.0
    sharpness = float(np.median(sharp[seen])) if seen.any() else 0.0
    far = seen & _is_far(light, seen)
    which: list[tuple[Look, npt.NDArray[np.bool_]]] = [
        ("black", black),
        ("burnt out", burnt),
        ("darker", far & (light * LIGHT < usual)),
        ("lighter", far & (light > usual * LIGHT)),
        ("blurred", seen & _is_far(sharp, seen) & (sharp < SHARP * sharpness)),
    ]
    return ImageLooks(
        light=float(np.median(light)) if len(light) else 0.0,
        burnt_out=float(np.median(white)) if len(white) else 0.0,
        sharpness=sharpness,
        findings=tuple(
            LookFinding(look, tuple(paths[index] for index in np.flatnonzero(chosen).tolist()))
            for look, chosen in which
            if chosen.any()
        ),
    )


def _is_far(values: Figures, seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which values lie far from the usual one, by the spread of all."""
    if not seen.any():
        return np.zeros(len(values), bool)
    distance = np.abs(values - np.median(values[seen]))
    spread = TO_DEVIATION * float(np.median(distance[seen]))
    return np.asarray(distance > SPREADS * spread, bool)
