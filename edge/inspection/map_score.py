"""The score that a graph makes of its map, made again where a part of the map does not count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.result import AnomalyMap
from engines.score_rule import ScoreRule


def score_from_map(
    anomaly_map: AnomalyMap,
    rule: ScoreRule,
    *,
    counted: npt.NDArray[np.bool_] | None = None,
) -> float:
    """The score that a rule gives a map.

    Where the rule looks at every so-manyth value and some do not count, each of its means is one
    of the same share of those that do, so that a mask changes nothing in what the score means. A
    mean among all values is one of a number of them, or of all where there are fewer.

    Args:
        anomaly_map: (h, w) float32.
        rule: how a map becomes a score.
        counted: (h, w), True where a value counts, at least one; None = everywhere. Where none of
            the values that would be looked at counts, all that count are.

    Returns:
        A float32 in the fewest digits that tell it.
    """
    every = (rule.step, rule.step)
    sampled = anomaly_map[every]
    values = sampled.ravel() if counted is None else sampled[counted[every]]
    if values.size == 0:
        values = anomaly_map.ravel() if counted is None else anomaly_map[counted]
    of = sampled.size if rule.stride > 1 and sampled.size else None
    return as_float32(rule.score(values, of=of))


def as_float32(value: float | np.floating) -> float:
    """Return the number of fewest digits that is the same float32.

    Whoever compares two of them, in whatever precision, finds what `reaches` finds.
    """
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))
