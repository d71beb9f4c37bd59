"""From an anomaly map and a score to a verdict and the regions that explain it.

The score decides: NG if it reaches the threshold, and, with a smallest area, if a region of that
area remains. Regions explain an NG, so nothing else has any: the mean of the highest values may
stay below a threshold that a few values reach, and then the part is good all through. And every NG
has one. Regions are the areas where the map reaches the pixel threshold, which is that of good
maps' highest values; where nothing does, because the score is the mean of many middling values,
those where the map reaches the score's threshold. A score of the map before smoothing may reach
what no value of the smoothed map does, and so may one that was rounded: then the region is where
the map is highest.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.threshold import reaches
from cameras.decoding.limits import MAX_PIXELS
from edge.inspection.ignore_mask import IgnoreMask, counted_cells, find_misfit, two_valued
from edge.inspection.map_score import as_float32, score_from_map
from edge.result import AnomalyMap, DefectMask, Region, Roi, Verdict
from engines.score_rule import MAXIMUM, ScoreRule

SHORT_LABELS = 1 << 16
Box: TypeAlias = tuple[int, int, int, int, int]  # (left, top, width, height, hot pixels) in px


@dataclass(frozen=True, slots=True, eq=False)
class DecisionSettings:
    """What can be changed without building again.

    Attributes:
        threshold: the score from which a frame is NG; kept as a float32, in as many digits as
            tell it from its neighbours.
        min_area: smallest region, in pixels of the frame, that makes a frame NG; 0 = the score
            alone decides.
        ignore: (h, w) uint8 of the frame's size or of `roi`'s, of two values, kept as 0 and 255;
            where it is white nothing counts. None = everything counts.
        roi: the part of the frame that the map covers, (x, y, width, height); None = all of it.
        score_rule: how the map becomes a score; with an ignore mask it is computed here.
        pixel_threshold: value of the map from which a pixel belongs to a region, kept as the
            threshold is; None = the threshold.
    """

    threshold: float
    min_area: int = 0
    ignore: IgnoreMask | None = None
    roi: Roi | None = None
    score_rule: ScoreRule = MAXIMUM
    pixel_threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse values with which no verdict means anything.

        Raises:
            TypeError: a threshold that is no number, an area or a region of no whole pixels.
            ValueError: a threshold that is not finite, a negative area, an empty or impossible
                region of interest, or a mask that is not a grey picture of two values.
        """
        for name in ("threshold", "pixel_threshold"):
            given = getattr(self, name)
            if given is None and name != "threshold":
                continue
            if isinstance(given, bool | str) or not isinstance(given, SupportsFloat):
                raise TypeError(f"{name} {given!r}: must be a number")
            if not math.isfinite(as_float32(float(given))):
                raise ValueError(f"{name} {given}: must be a finite number")
            object.__setattr__(self, name, as_float32(float(given)))
        object.__setattr__(self, "min_area", _whole(self.min_area, "min_area"))
        if self.min_area < 0:
            raise ValueError(f"min_area {self.min_area}: must be 0 or more pixels")
        if self.roi is not None:
            object.__setattr__(self, "roi", tuple(_whole(one, "roi") for one in self.roi))
        if self.roi is not None and (
            len(self.roi) != 4 or min(self.roi) < 0 or min(self.roi[2:]) < 1
        ):
            raise ValueError(f"roi {self.roi}: must be x,y,width,height inside the frame")
        if self.roi is not None and _reach(self.roi) > MAX_PIXELS:
            raise ValueError(
                f"roi {self.roi}: no picture is that large; "
                f"at most {MAX_PIXELS // 1_000_000} megapixels are read"
            )
        if self.ignore is not None:
            object.__setattr__(self, "ignore", two_valued(self.ignore))

    @property
    def region_threshold(self) -> float:
        """Value of the map from which a pixel belongs to a region, where any reaches it."""
        return self.threshold if self.pixel_threshold is None else self.pixel_threshold


def _whole(value: object, name: str) -> int:
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return operator.index(value)
    raise TypeError(f"{name} {value!r}: must be whole pixels")


def _reach(roi: Roi) -> int:
    """Pixels of the smallest picture that holds a region of interest."""
    return (roi[0] + roi[2]) * (roi[1] + roi[3])


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What is decided about one frame.

    Attributes:
        verdict: OK, NG or ERROR.
        score: what was compared with the threshold; None for ERROR.
        regions: where an NG's defect is, highest peak first.
        reason: why it is ERROR; empty otherwise.
        defect_mask: (h, w) bool, True inside the regions; None without any.
        ignored: (h, w) bool, True where nothing counts; None without a mask.
    """

    verdict: Verdict
    score: float | None
    regions: tuple[Region, ...] = ()
    reason: str = ""
    defect_mask: DefectMask | None = None
    ignored: DefectMask | None = None


def decide(
    anomaly_map: AnomalyMap,
    pred_score: float,
    *,
    settings: DecisionSettings,
    frame_shape: tuple[int, ...],
) -> Judgement:
    """Decide about one frame.

    NG when the score `reaches` the threshold and, if `settings.min_area` is set, a region of that
    area remains; ERROR when the engine returned anything that is not finite, or the ignore mask has
    neither the frame's size nor the region's; OK otherwise. The
    score is the engine's own, except with an ignore mask: then it is computed from the values of
    the map outside the mask.

    Args:
        anomaly_map: (h, w) float32, covering `settings.roi`.
        pred_score: the engine's score for the picture.
        settings: thresholds, smallest area, ignore mask, region of interest.
        frame_shape: (H, W, ...) of the frame in which regions are expressed.
    """
    if anomaly_map.ndim != 2 or anomaly_map.size == 0:
        return _error(f"anomaly map of shape {anomaly_map.shape}; expected (height, width)")
    score = as_float32(pred_score)
    if not math.isfinite(score):
        return _error(f"the engine returned a score of {score}; run `edge doctor`")
    peak = anomaly_map.max()
    # A NaN passes through both, an infinity through one; and nothing is written in between.
    if not (math.isfinite(peak) and math.isfinite(anomaly_map.min())):
        return _error("the engine returned an anomaly map that is not finite; run `edge doctor`")
    counted = ignored = None
    if settings.ignore is not None:
        counted, problem = _counted(settings.ignore, settings.roi, anomaly_map, frame_shape)
        if problem:
            return _error(problem)
        ignored = ~counted
        score = score_from_map(anomaly_map, settings.score_rule, counted=counted)
        peak = anomaly_map.max(where=counted, initial=-np.inf)
    if reaches(score, settings.threshold):
        regions, defect_mask = find_regions(
            anomaly_map,
            threshold=_begin_of_regions(float(peak), settings),
            min_area=settings.min_area,
            counted=counted,
            roi=settings.roi,
            frame_shape=frame_shape,
        )
        if regions or settings.min_area == 0:
            return Judgement(Verdict.NG, score, regions, defect_mask=defect_mask, ignored=ignored)
    return Judgement(Verdict.OK, score, ignored=ignored)


def find_regions(
    anomaly_map: AnomalyMap,
    *,
    threshold: float,
    min_area: int,
    counted: npt.NDArray[np.bool_] | None,
    roi: Roi | None,
    frame_shape: tuple[int, ...],
) -> tuple[tuple[Region, ...], DefectMask | None]:
    """Return the 8-connected areas where the map reaches the threshold, highest peak first.

    Args:
        anomaly_map: (h, w) float32, covering `roi`.
        threshold: lowest value that belongs to a region.
        min_area: smaller regions, in pixels of the frame, are left out.
        counted: (h, w), False where nothing belongs to a region. None = everything counts.
        roi: (x, y, width, height) in pixels of the frame; None = the whole frame.
        frame_shape: (H, W, ...) of the frame.

    Returns:
        The regions, and (h, w) which values belong to one of them; None without any.
    """
    hot = reaches(anomaly_map, threshold)
    if counted is not None:
        hot &= counted
    # Labelling costs by the pixel, and defects are small: only the part that is hot is labelled.
    left, top, width, height = cv2.boundingRect(hot.view(np.uint8))
    if width == 0 or height == 0:
        return (), None
    part = (slice(top, top + height), slice(left, left + width))
    values = anomaly_map[part]
    labels, boxes = _components(np.ascontiguousarray(hot[part]).view(np.uint8))
    if len(boxes) == 1 and counted is None:
        peaks = [values.max()]  # what is not hot is lower
    else:
        peaks = [_peak(values, labels, label=index + 1, box=box) for index, box in enumerate(boxes)]
    place = roi if roi is not None else (0, 0, frame_shape[1], frame_shape[0])
    regions = [
        _region(
            (left + box[0], top + box[1], *box[2:]), peak, map_shape=anomaly_map.shape, place=place
        )
        for box, peak in zip(boxes, peaks, strict=True)
    ]
    large = [region.area >= min_area for region in regions]
    if not any(large):
        return (), None
    if not all(large):
        hot[part] &= np.array([False, *large])[labels]
    kept = [region for region, is_large in zip(regions, large, strict=True) if is_large]
    return tuple(sorted(kept, key=lambda region: (-region.peak, region.y, region.x))), hot


def _begin_of_regions(peak: float, settings: DecisionSettings) -> float:
    """The value from which the map of an NG belongs to a region.

    Args:
        peak: the highest value that counts.
        settings: with the thresholds. With a smallest area, the peak alone is no region.
    """
    means = [term.mean_at(settings.threshold) for term in settings.score_rule.terms]
    for threshold in (settings.region_threshold, *sorted(means, reverse=True)):
        if reaches(peak, threshold):
            return threshold
    return settings.threshold if settings.min_area else peak


def _components(hot: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], list[Box]]:
    """Labels of the 8-connected areas, from 1, and the box of each.

    Args:
        hot: (h, w) uint8, 0 or 1, contiguous; each of its four edges has a hot pixel.
    """
    height, width = hot.shape
    # Labels of 16 bit are written and read in half the time; two areas never share a 2x2 block.
    max_count = ((height + 1) // 2) * ((width + 1) // 2)
    kind = cv2.CV_16U if max_count < SHORT_LABELS else cv2.CV_32S
    count, labels = cv2.connectedComponents(hot, connectivity=8, ltype=kind)
    if count == 2:  # mostly: its box is all of this, and gathering boxes takes the longest
        return labels, [(0, 0, width, height, cv2.countNonZero(hot))]
    _, labels, boxes, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        hot, 8, kind, cv2.CCL_SPAGHETTI
    )
    return labels, [tuple(box) for box in boxes[1:].tolist()]


def _peak(
    values: AnomalyMap,
    labels: npt.NDArray[Any],
    *,
    label: int,
    box: Box,
) -> np.float32:
    """Return the highest value of a component, looking no further than its box."""
    left, top, width, height, _ = box
    inside = slice(top, top + height), slice(left, left + width)
    values, labels = values[inside], labels[inside]
    highest = np.unravel_index(int(values.argmax()), values.shape)
    if labels[highest] == label:  # nearly always: no other area reaches into the box
        return np.float32(values[highest])
    return np.float32(values.max(where=labels == label, initial=-np.inf))


def _region(box: Box, peak: np.float32, *, map_shape: tuple[int, ...], place: Roi) -> Region:
    """Return a component in pixels of the frame; its box covers every pixel that it touches."""
    left, top, width, height, area = box
    across, down = place[2] / map_shape[1], place[3] / map_shape[0]
    x, y = math.floor(left * across), math.floor(top * down)
    right, bottom = math.ceil((left + width) * across), math.ceil((top + height) * down)
    return Region(
        x=place[0] + x,
        y=place[1] + y,
        width=max(1, min(right, place[2]) - x),
        height=max(1, min(bottom, place[3]) - y),
        area=max(1, round(area * across * down)),
        peak=as_float32(peak),
    )


def _counted(
    ignore: IgnoreMask, roi: Roi | None, anomaly_map: AnomalyMap, frame_shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.bool_], str]:
    """Where a map counts, and why a mask is none for this frame."""
    problem = find_misfit(ignore, roi=roi, frame_shape=frame_shape)
    if problem:
        return np.zeros(anomaly_map.shape, np.bool_), problem
    counted = counted_cells(ignore, map_shape=anomaly_map.shape, roi=roi)
    return counted, "" if counted.any() else "the ignore mask leaves nothing to inspect"


def _error(reason: str) -> Judgement:
    return Judgement(Verdict.ERROR, None, reason=reason)
