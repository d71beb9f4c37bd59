"""A result: what the inspector says about one frame."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cameras.frame import Frame, same_value

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

    Two results are equal when they say the same about the same frame: all fields are, arrays by
    their values, but for `speed` and `image`. A result is pickled without its image, so that a
    queue between processes carries what was found and not the frame; to take the image along, send
    ``(result, result.image)`` and put it back with ``dataclasses.replace(result, image=image)``.
    Copies keep it. In a notebook a result shows itself drawn.

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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return all(same_value(getattr(self, name), getattr(other, name)) for name in _SAID)

    def __hash__(self) -> int:
        return hash((self.source, self.frame, self.captured_at_ns, self.verdict))

    def __repr__(self) -> str:
        score = "no score" if self.score is None else f"score {self.score:.6g}"
        said = [f"{self.verdict}, {score}, threshold {self.threshold:.6g}"]
        if self.regions:
            said.append(f"{len(self.regions)} region{'s' if len(self.regions) > 1 else ''}")
        if self.reason:
            said.append(f"reason={_shortened(self.reason)!r}")
        said.append(f"source={_shortened(self.source)!r}, frame={self.frame}")
        return f"Result({', '.join(said)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _result_from_values, (self._values(image=None),)

    def __copy__(self) -> Result:
        return self  # nothing of it can be changed

    def __deepcopy__(self, known: dict[int, Any]) -> Result:
        return _result_from_values(deepcopy(self._values(image=self.image), known))

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: the result drawn, by whoever made it; None without an image."""
        return None if self.image is None else _PICTURES[-1](self)

    def _values(self, *, image: Image | None) -> tuple[Any, ...]:
        return tuple(image if one.name == "image" else getattr(self, one.name) for one in _FIELDS)

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


_FIELDS = fields(Result)
_SAID = tuple(one.name for one in _FIELDS if one.name not in ("speed", "image"))
_MAX_SHOWN = 60  # characters of a reason or a source
PictureOf: TypeAlias = Callable[[Result], bytes | None]
_PICTURES: list[PictureOf] = [lambda _: None]


def show_results_as(picture: PictureOf) -> None:
    """Have notebooks show results as this: a room above draws, and this one does not know it.

    Args:
        picture: makes a PNG of a result; None shows its text alone.
    """
    _PICTURES[:] = [picture]


def _result_from_values(values: tuple[Any, ...]) -> Result:
    return Result(*values)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


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
