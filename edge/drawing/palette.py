"""Colours that mean the same everywhere: on overlays, in the grid, in the report, on the page."""

from __future__ import annotations

from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.result import AnomalyMap, DefectMask, Image, Verdict

Colour: TypeAlias = tuple[int, int, int]  # BGR
Levels: TypeAlias = npt.NDArray[np.uint8]  # (h, w), of the heat map

VERDICT_COLOURS = MappingProxyType(
    {Verdict.OK: (74, 153, 34), Verdict.NG: (52, 44, 208), Verdict.ERROR: (16, 132, 232)}
)
"""On paper, and behind white letters."""
VERDICT_COLOURS_ON_DARK = MappingProxyType(
    {Verdict.OK: (107, 207, 62), Verdict.NG: (95, 90, 255), Verdict.ERROR: (40, 160, 255)}
)
"""On the dark ground of a page."""
DEFECT = VERDICT_COLOURS[Verdict.NG]  # outline of what counts
TRUTH = (90, 190, 60)  # outline of what a person has marked

AT_THRESHOLD = 128
"""Level from which the heat map's colours mean a defect: the middle of its scale."""
_LOW, _HIGH = 0.5, 1.5  # in thresholds: where the heat map begins, and where it is full


def heat_levels(
    anomaly_map: AnomalyMap,
    *,
    threshold: float,
    defect_mask: DefectMask | None,
    size: tuple[int, int],
) -> Levels:
    """Return what the heat map shows: 0 up to half the threshold, 255 from one and a half of it.

    Levels from `AT_THRESHOLD` on are exactly where the defect is: what reaches the threshold and
    does not count (ignored, smaller than the smallest area, in a good part) stays just below, and
    what counts is never below, not even where no value of the map reaches the threshold. A value
    that is not a number is as hot as can be.

    Args:
        anomaly_map: (h, w) float32.
        threshold: of pixels; without one above 0 there is no scale: only what counts is shown.
        defect_mask: (h, w) bool, where it counts; None = nowhere.
        size: (width, height) of the picture that the map covers.
    """
    limit = np.float32(threshold)
    spread = _spread(anomaly_map, limit, defect_mask, size)
    below = np.minimum(spread, AT_THRESHOLD - 1)
    if defect_mask is None:
        return np.asarray(below, np.uint8)
    inside = _is_near(defect_mask, size)
    lowest = anomaly_map.min(where=defect_mask, initial=limit)
    if lowest == limit:
        inside &= spread >= AT_THRESHOLD
    elif lowest > 0:  # what counts does not reach the threshold, and has an outline of its own
        inside &= _spread(anomaly_map, lowest, defect_mask, size) >= AT_THRESHOLD
    _show_lost(inside, defect_mask)
    return np.asarray(np.where(inside, np.maximum(spread, AT_THRESHOLD), below), np.uint8)


def lay_heat(picture: Image, levels: Levels, *, opacity: float) -> None:
    """Blend heat into a picture of its size, touching only where there is any.

    Args:
        picture: (H, W, 3) uint8 BGR, changed in place.
        levels: (H, W), see `heat_levels`.
        opacity: where the heat is full, 0 to 1.
    """
    left, top, width, height = cv2.boundingRect(levels)
    if width == 0 or height == 0:
        return
    spot = picture[top : top + height, left : left + width]
    hot = levels[top : top + height, left : left + width]
    weight = cv2.LUT(hot, _weights(opacity))
    spot[:] = cv2.blendLinear(heat_colours(hot), np.ascontiguousarray(spot), weight, 1 - weight)


def heat_colours(levels: Levels) -> Image:
    """Return the colours of levels: yellow, orange at the threshold, red."""
    return np.asarray(cv2.applyColorMap(levels, _HEAT), np.uint8)


def _spread(
    anomaly_map: AnomalyMap,
    limit: np.float32,
    defect_mask: DefectMask | None,
    size: tuple[int, int],
) -> Levels:
    """The map relative to a value, as levels in a picture of (width, height)."""
    if limit > 0:
        with np.errstate(all="ignore"):  # of a tiny threshold, or a map that is not finite
            relative = np.nan_to_num(anomaly_map / limit, nan=_HIGH, posinf=_HIGH, neginf=0.0)
        level = np.clip((relative - _LOW) / (_HIGH - _LOW), 0.0, 1.0) * 255
    else:
        level = np.zeros(anomaly_map.shape) if defect_mask is None else defect_mask * 255.0
    spread = cv2.resize(np.rint(level).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(spread, np.uint8)


def _is_near(mask: DefectMask, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Where a picture of this size shows the mask, or what is less than a pixel of it away."""
    rows, columns = mask.shape
    smaller = (min(size[0], columns), min(size[1], rows))
    # In two steps: OpenCV's INTER_AREA averages only where both sides become shorter.
    small = cv2.resize(mask.astype(np.float32), smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR) > 0)


def _show_lost(inside: npt.NDArray[np.bool_], mask: DefectMask) -> None:
    """Set at least a pixel for each region that is too small for the picture to show."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    rows, columns = np.nonzero(mask)
    down = (rows * 2 + 1) * inside.shape[0] // (2 * mask.shape[0])
    across = (columns * 2 + 1) * inside.shape[1] // (2 * mask.shape[1])
    owners = labels[rows, columns]
    shown = np.zeros(count, bool)
    shown[owners[inside[down, across]]] = True
    lost = ~shown[owners]
    inside[down[lost], across[lost]] = True


def _weights(opacity: float) -> npt.NDArray[np.float32]:
    """Return the opacity of each of the 256 levels: heat fades in, without an edge."""
    level = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    eased = level * level * (3 - 2 * level)
    return np.asarray(np.clip(opacity, 0.0, 1.0) * np.sqrt(eased), np.float32)


def _ramp() -> Image:
    """Return (256, 1, 3) BGR: yellow, orange, red, each distinct in grey too."""
    stops = np.array([0, 96, 160, 255], np.float32)
    channels = [(90, 40, 30, 40), (235, 190, 110, 0), (255, 255, 250, 190)]
    levels = np.arange(256, dtype=np.float32)
    ramps = [np.interp(levels, stops, np.array(channel, np.float32)) for channel in channels]
    return np.stack(ramps, axis=-1).astype(np.uint8)[:, None, :]


_HEAT = _ramp()
