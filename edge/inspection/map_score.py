"""The score that a graph makes of its map, made again where a part of the map does not count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.result import AnomalyMap
from engines.score_pixels import ScorePixels


def mean_of_highest(
    anomaly_map: AnomalyMap,
    pixels: ScorePixels,
    *,
    counted: npt.NDArray[np.bool_] | None = None,
) -> float:
    """The mean of the highest values; never above the highest.

    Among every so-manyth value (`pixels.stride` above 1) it is the mean of a share: where some do
    not count, of the same share of those that do, so that a mask changes nothing in what the score
    means. Among all values it is the mean of a number of them, or of all where there are fewer.

    Args:
        anomaly_map: (h, w) float32.
        pixels: of which values it is the mean.
        counted: (h, w), True where a value counts, at least one; None = everywhere. Where none of
            the values that would be looked at counts, all that count are.

    Returns:
        A float32 in the fewest digits that tell it.
    """
    every = (pixels.step, pixels.step)
    sampled = anomaly_map[every]
    values = sampled.ravel() if counted is None else sampled[counted[every]]
    if values.size == 0:
        values = anomaly_map.ravel() if counted is None else anomaly_map[counted]
    count = pixels.count
    if pixels.stride > 1:
        count = max(1, round(count / max(1, sampled.size) * values.size))
    highest = values if count >= values.size else np.partition(values, -count)[-count:]
    return as_float32(highest.mean(dtype=np.float64))


def as_float32(value: float | np.floating) -> float:
    """Return the number of fewest digits that is the same float32.

    Whoever compares two of them, in whatever precision, finds what `reaches` finds.
    """
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))
