"""From an anomaly map and a score to a verdict and the regions that explain it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.result import AnomalyMap, Region, Roi, Verdict

SHORT_LABELS = 1 << 16
Box: TypeAlias = tuple[int, int, int, int, int]  # (left, top, width, height, hot pixels) in px
IgnoreMask = npt.NDArray[np.uint8]  # (h, w), white (>= 128) = ignore


@dataclass(frozen=True, slots=True, eq=False)
class DecisionSettings:
    """What can be changed without building again.

    Attributes:
        threshold: the score from which a frame is NG.
        min_area: smallest region, in pixels of the frame, that makes a frame NG; 0 = the score
            alone decides.
        ignore: (h, w) uint8 of any size, covering `roi`; where it is white (>= 128) nothing
            counts. None = everything counts.
        roi: the part of the frame that the map covers, (x, y, width, height); None = all of it.
        score_pixels: of how many of the map's highest values the score is the mean; with an
            ignore mask it is computed here.
    """

    threshold: float
    min_area: int = 0
    ignore: IgnoreMask | None = None
    roi: Roi | None = None
    score_pixels: int = 1

    def __post_init__(self) -> None:
        """Refuse values with which no verdict means anything.

        Raises:
            ValueError: a threshold that is not finite, a negative area, an empty region of
                interest, or a mask that is not a grey picture.
        """
        if not math.isfinite(self.threshold):
            raise ValueError(f"threshold {self.threshold}: must be a finite number")
        if self.min_area < 0:
            raise ValueError(f"min_area {self.min_area}: must be 0 or more pixels")
        if self.roi is not None and (min(self.roi) < 0 or min(self.roi[2:]) < 1):
            raise ValueError(f"roi {self.roi}: must be x,y,width,height inside the frame")
        if self.ignore is not None and (self.ignore.ndim != 2 or self.ignore.dtype != np.uint8):
            raise ValueError(
                f"ignore mask of shape {self.ignore.shape} {self.ignore.dtype}: "
                "must be a grey picture, (H, W) uint8"
            )


def decide(
    anomaly_map: AnomalyMap,
    pred_score: float,
    *,
    settings: DecisionSettings,
    frame_shape: tuple[int, ...],
) -> tuple[Verdict, float | None, tuple[Region, ...], str]:
    """Return (verdict, score, regions, reason) for one frame.

    NG when the score reaches the threshold and, if `settings.min_area` is set, a region of that
    area remains; ERROR when the engine returned anything that is not finite; OK otherwise. The
    score is the engine's own, except with an ignore mask: then it is computed in the same way from
    what lies outside the mask.

    Args:
        anomaly_map: (h, w) float32, covering `settings.roi`.
        pred_score: the engine's score for the picture.
        settings: threshold, smallest area, ignore mask, region of interest.
        frame_shape: (H, W, ...) of the frame in which regions are expressed.
    """
    score = float(pred_score)
    if anomaly_map.ndim != 2 or anomaly_map.size == 0:
        return _error(f"anomaly map of shape {anomaly_map.shape}; expected (height, width)")
    if not math.isfinite(score):
        return _error(f"the engine returned a score of {score}; run `edge doctor`")
    # A NaN passes through both, an infinity through one; and nothing is written in between.
    highest = anomaly_map.max()
    if not (math.isfinite(highest) and math.isfinite(anomaly_map.min())):
        return _error("the engine returned an anomaly map that is not finite; run `edge doctor`")
    if settings.ignore is not None:
        counted = _counted(settings.ignore, anomaly_map.shape)
        if not counted.any():
            return _error("the ignore mask leaves nothing to inspect")
        score = _score(anomaly_map[counted], settings.score_pixels)
    regions: tuple[Region, ...] = ()
    if highest >= np.float32(settings.threshold):  # else a good part, as nearly all are
        regions = find_regions(
            anomaly_map,
            threshold=settings.threshold,
            min_area=settings.min_area,
            ignore=settings.ignore,
            roi=settings.roi,
            frame_shape=frame_shape,
        )
    bad = score >= settings.threshold and (settings.min_area == 0 or len(regions) > 0)
    return (Verdict.NG if bad else Verdict.OK), score, regions, ""


def _score(values: npt.NDArray[np.float32], count: int) -> float:
    """The mean of the highest values; of all where there are fewer."""
    if count >= len(values):
        return float(values.mean())
    return float(np.partition(values, -count)[-count:].mean())


def find_regions(
    anomaly_map: AnomalyMap,
    *,
    threshold: float,
    min_area: int,
    ignore: IgnoreMask | None,
    roi: Roi | None,
    frame_shape: tuple[int, ...],
) -> tuple[Region, ...]:
    """Return the 8-connected areas where the map reaches the threshold, highest peak first.

    Args:
        anomaly_map: (h, w) float32, covering `roi`.
        threshold: lowest value that belongs to a region.
        min_area: smaller regions, in pixels of the frame, are left out.
        ignore: (h, w) uint8 of any size; white areas belong to no region. None = none.
        roi: (x, y, width, height) in pixels of the frame; None = the whole frame.
        frame_shape: (H, W, ...) of the frame.
    """
    # Compared at the map's own precision: a float32 score equal to its threshold must not be
    # lost to the threshold's further digits.
    hot = anomaly_map >= np.float32(threshold)
    if ignore is not None:
        hot &= _counted(ignore, anomaly_map.shape)
    # Labelling costs by the pixel, and defects are small: only the part that is hot is labelled.
    left, top, width, height = cv2.boundingRect(hot.view(np.uint8))
    if width == 0 or height == 0:
        return ()
    part = (slice(top, top + height), slice(left, left + width))
    hot, values = hot[part], anomaly_map[part]
    labels, boxes = _components(np.ascontiguousarray(hot).view(np.uint8))
    if len(boxes) == 1 and ignore is None:
        peaks = [float(values.max())]  # what is not hot is lower
    else:
        peaks = [_peak(values, labels, label=index + 1, box=box) for index, box in enumerate(boxes)]
    place = roi if roi is not None else (0, 0, frame_shape[1], frame_shape[0])
    found = [
        _region(
            (left + box[0], top + box[1], *box[2:]), peak, map_shape=anomaly_map.shape, place=place
        )
        for box, peak in zip(boxes, peaks, strict=True)
    ]
    kept = [region for region in found if region.area >= min_area]
    return tuple(sorted(kept, key=lambda region: (-region.peak, region.y, region.x)))


def _components(hot: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], list[Box]]:
    """Labels of the 8-connected areas, from 1, and the box of each.

    Args:
        hot: (h, w) uint8, 0 or 1, contiguous; each of its four edges has a hot pixel.
    """
    height, width = hot.shape
    # Labels of 16 bit are written and read in half the time; two areas never share a 2x2 block.
    most = ((height + 1) // 2) * ((width + 1) // 2)
    kind = cv2.CV_16U if most < SHORT_LABELS else cv2.CV_32S
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
) -> float:
    """Return the highest value of a component, looking no further than its box."""
    left, top, width, height, _ = box
    inside = slice(top, top + height), slice(left, left + width)
    values, labels = values[inside], labels[inside]
    highest = np.unravel_index(int(values.argmax()), values.shape)
    if labels[highest] == label:  # nearly always: no other area reaches into the box
        return float(values[highest])
    return float(values.max(where=labels == label, initial=-np.inf))


def _region(box: Box, peak: float, *, map_shape: tuple[int, ...], place: Roi) -> Region:
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
        peak=peak,
    )


def _counted(ignore: IgnoreMask, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return where the map counts: the mask, resized without inventing grey, is black."""
    if ignore.shape != shape:
        resized = cv2.resize(ignore, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
        return np.asarray(resized < 128)
    return np.asarray(ignore < 128)


def _error(reason: str) -> tuple[Verdict, None, tuple[Region, ...], str]:
    return Verdict.ERROR, None, (), reason
