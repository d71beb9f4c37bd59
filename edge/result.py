"""A result: what the inspector says about one frame."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cameras.frame import Frame

Image: TypeAlias = npt.NDArray[np.uint8]  # (H, W, 3) BGR
AnomalyMap: TypeAlias = npt.NDArray[np.float32]  # (h, w), at the model's size
DefectMask: TypeAlias = npt.NDArray[np.bool_]  # (h, w), at the model's size
Roi: TypeAlias = tuple[int, int, int, int]  # (x, y, width, height) in pixels of the frame


class Verdict(str, enum.Enum):
    """What is decided about a frame; ERROR means that nothing can be said, never "good"."""

    OK = "OK"
    NG = "NG"
    ERROR = "ERROR"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Region:
    """A connected area of an NG that the anomaly map shows, in pixels of the frame.

    Attributes:
        x: left edge of its bounding box.
        y: upper edge of its bounding box.
        width: width of its bounding box, at least 1.
        height: height of its bounding box, at least 1.
        area: pixels that it covers, at least 1.
        peak: highest value of the anomaly map inside it.
    """

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The verdict about one frame, with all that is needed to record and to draw it.

    Attributes:
        source: name of the frame's source, credentials redacted.
        frame: the frame's index within the source.
        captured_at_ns: Unix time of capture, UTC, in ns.
        verdict: OK, NG or ERROR.
        score: what was compared with the threshold; None when there is no finite score.
        threshold: the score from which a frame is NG.
        regions: where the defect is, highest peak first; only NG has any.
        reason: why the verdict is ERROR; empty otherwise.
        speed: milliseconds per stage: ``prepare``, ``engine``, ``decide``.
        anomaly_map: (h, w) float32 at the model's size, covering `roi`; None without an image.
        roi: the part of the image that was inspected, (x, y, width, height); None = all of it.
        image: (H, W, 3) uint8 BGR as it came in; None when the frame could not be read.
        camera: the name of the camera among several; empty where there is only one, unnamed.
        part: the number of its trigger; None where nothing triggers.
        defect_mask: (h, w) bool of the map's size, True inside the regions; None without any.
        pixel_threshold: value of the map from which a pixel belongs to a region, and from which
            its colour says so; None = the threshold.
        ignored: (h, w) bool of the map's size, True where a mask leaves out; None without one.
        drift: how the last scores lie to those of the build (`edge.health.drift.DriftState`);
            empty where nobody watches.
        recipe: the number of a station's recipe that inspected; None elsewhere.
    """

    source: str
    frame: int
    captured_at_ns: int
    verdict: Verdict
    score: float | None
    threshold: float
    regions: tuple[Region, ...] = ()
    reason: str = ""
    speed: Mapping[str, float] = field(default_factory=dict)
    anomaly_map: AnomalyMap | None = None
    roi: Roi | None = None
    image: Image | None = None
    camera: str = ""
    part: int | None = None
    defect_mask: DefectMask | None = None
    pixel_threshold: float | None = None
    ignored: DefectMask | None = None
    drift: str = ""
    recipe: int | None = None

    @property
    def region_threshold(self) -> float:
        """Value of the map from which a pixel belongs to a region, where any reaches it."""
        return self.threshold if self.pixel_threshold is None else self.pixel_threshold

    def to_json(self) -> dict[str, Any]:
        """Return the result line: JSON types only, numbers finite, no pictures."""
        return {
            "camera": self.camera,
            "part": self.part,
            "recipe": self.recipe,
            "source": self.source,
            "frame": self.frame,
            "captured_at_ns": self.captured_at_ns,
            "verdict": self.verdict.value,
            "score": _finite(self.score),
            "threshold": _finite(self.threshold),
            "regions": [asdict(region) for region in self.regions],
            "reason": self.reason,
            "drift": self.drift,
            "speed": {stage: round(float(ms), 3) for stage, ms in self.speed.items()},
        }


Inspect: TypeAlias = Callable[[Frame], Result]
OnResult: TypeAlias = Callable[[Frame, Result], None]
Say: TypeAlias = Callable[[str], None]  # takes a line for people


def error_from_frame(frame: Frame, *, threshold: float, reason: str = "") -> Result:
    """Return the ERROR result for a frame that cannot be inspected.

    Args:
        frame: the frame; its image, if any, is kept for drawing.
        threshold: the inspector's threshold, for the record.
        reason: why; the frame's own reason when empty.
    """
    return Result(
        source=frame.source,
        frame=frame.index,
        captured_at_ns=frame.captured_at_ns,
        verdict=Verdict.ERROR,
        score=None,
        threshold=threshold,
        reason=reason or frame.reason or "no image and no reason given",
        image=frame.image,
    )


def _finite(value: float | None) -> float | None:
    """Return a JSON number; JSON has no NaN and no infinity."""
    return None if value is None or not math.isfinite(value) else float(value)
