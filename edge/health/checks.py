"""Whether a single picture is fit to be judged: black, burnt out, blurred, occluded.

A picture that is not gets ERROR: a covered lens may look like nothing but good parts to a model
that compares patches. Each limit was learnt from the good images (`edge.health.learn`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edge.health.measurements import CELLS, Grid, ImageStats
from engines.manifest import HealthRecord, OcclusionRecord

GAINS = (0.75, 1.33)  # of the light as a whole: a lamp that ages covers nothing
MIN_GREY = 20.0  # a darker cell says nothing about the light
_DETAIL_KEPT = 0.4  # of a cell's least detail, below which something smooth hides it
_MIN_DETAIL = 8.0  # a cell with less has none to lose
_MIN_SLACK = 16.0  # grey levels beyond those seen


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """What each cell of a healthy picture looks like.

    Attributes:
        limit: share of cells that may look otherwise.
        low, high: of a cell's mean grey level, before slack.
        typical: of a cell's grey level.
        detail: least of a cell.
    """

    limit: float
    low: Grid
    high: Grid
    typical: Grid
    detail: Grid

    def measure_share(self, stats: ImageStats) -> float:
        """Return the share of cells that look like nothing in the good images at their place."""
        bright = self.typical > MIN_GREY
        gain = float(np.median(stats.light[bright] / self.typical[bright])) if bright.any() else 1.0
        light = stats.light / np.clip(gain, *GAINS)
        slack = np.maximum(_MIN_SLACK, (self.high - self.low) / 2)
        strange = (light < self.low - slack) | (light > self.high + slack)
        smooth = (self.detail > _MIN_DETAIL) & (stats.detail < _DETAIL_KEPT * self.detail)
        return float(np.mean(strange | smooth))


class ImageChecks:
    """Compares what is measured on a picture with a bundle's limits.

    Args:
        record: limits; None = nothing was learnt, nothing is wrong.
        off: names of checks that are left out.

    Attributes:
        record: as given.
        off: as given.

    Raises:
        ValueError: a check that there is not.
    """

    def __init__(self, record: HealthRecord | None, *, off: frozenset[str] = frozenset()) -> None:
        unknown = sorted(off - set(CHECKS))
        if unknown:
            raise ValueError(f"health {unknown[0]!r}: give one of {', '.join(CHECKS)}")
        self.record = record
        self.off = off
        found = record.occluded if record is not None else None
        self.occlusion = occlusion_from_record(found) if found is not None else None

    @functools.cached_property
    def needs_stats(self) -> bool:
        """Whether a picture has to be measured, at all."""
        return self.record is not None and any(name not in self.off for name in _CHECKS)

    def without(self, *names: str) -> ImageChecks:
        """The same, but for some stats."""
        return ImageChecks(self.record, off=self.off | set(names))

    def find_problem(self, stats: ImageStats) -> str:
        """Return why a picture is not fit to be judged, the check first; empty if it is."""
        for name, check in _CHECKS.items():
            reason = "" if name in self.off else check(self, stats)
            if reason:
                return f"{name}: {reason}"
        return ""

    def find_wrong_size(self, shape: tuple[int, ...]) -> str:
        """Return why a picture is not of the good images' size, the check first.

        Empty if it is, or if they have many. It matters where a region of interest is given in
        pixels; without one, any size is fitted.

        Args:
            shape: (height, width, ...) of the picture.
        """
        sizes = self.record.sizes if self.record else ()
        if not sizes or (shape[0], shape[1]) in sizes or "size" in self.off:
            return ""
        good = ", ".join(f"{width}x{height}" for height, width in sizes)
        return (
            f"size: the picture has {shape[1]}x{shape[0]} px, the good images have {good}, and the "
            "region of interest is given in their pixels; set the camera back"
        )

    def _black(self, stats: ImageStats) -> str:
        limit = self.record.black if self.record else None
        if limit is None or stats.brightness >= limit:
            return ""
        return (
            f"its brightest part has grey level {stats.brightness:.0f}, at least {limit:.0f} is "
            "healthy; check light, lens cap and exposure"
        )

    def _saturated(self, stats: ImageStats) -> str:
        limit = self.record.white if self.record else None
        if limit is None or stats.white <= limit:
            return ""
        return (
            f"{stats.white:.0%} of the picture is burnt out, at most {limit:.0%} is healthy; check "
            "light and exposure"
        )

    def _blurred(self, stats: ImageStats) -> str:
        limit = self.record.blurred if self.record else None
        if limit is None or stats.sharpness >= limit:
            return ""
        return (
            f"sharpness {stats.sharpness:.2f}, at least {limit:.2f} is healthy; check focus, lens "
            "and shutter"
        )

    def _occluded(self, stats: ImageStats) -> str:
        if self.occlusion is None:
            return ""
        share = self.occlusion.measure_share(stats)
        if share <= self.occlusion.limit:
            return ""
        return (
            f"{share:.0%} of the picture looks like no good image at that place, at most "
            f"{self.occlusion.limit:.0%} is healthy; check lens, view, light and that a part is "
            "in place"
        )


_CHECKS: Mapping[str, Callable[[ImageChecks, ImageStats], str]] = MappingProxyType(
    {
        "black": ImageChecks._black,
        "saturated": ImageChecks._saturated,
        "blurred": ImageChecks._blurred,
        "occluded": ImageChecks._occluded,
    }
)
CHECKS = (*_CHECKS, "size", "frozen")


def check_from_reason(reason: str) -> str:
    """Return the check that made a result an ERROR; empty if it was none of them."""
    word = reason.partition(": ")[0]
    return word if word in CHECKS else ""


def occlusion_from_record(record: OcclusionRecord) -> Occlusion:
    """Return limits as arrays; a grid is square.

    Raises:
        ValueError: it is not, or not the grid that is measured on pictures.
    """
    side = round(len(record.typical) ** 0.5)
    if len(record.typical) != CELLS**2:
        raise ValueError(
            f"health: a grid of {len(record.typical)} cells, and pictures are measured in "
            f"{CELLS**2}; build the bundle again"
        )

    def grid(values: tuple[float, ...]) -> Grid:
        return np.array(values, np.float32).reshape(side, side)

    return Occlusion(
        limit=record.limit,
        low=grid(record.low),
        high=grid(record.high),
        typical=grid(record.typical),
        detail=grid(record.detail),
    )
