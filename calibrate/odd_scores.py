"""Which of the highest scores the others do not lead to expect."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

SMALL_SHARE, LARGE_SHARE, FEW = 0.05, 0.01, 3  # of the images; see `most_odd`
TAIL_SHARE = 0.1  # of the scores that are taken for the tail
MIN_TAIL = 10
FALSE_ALARM = 0.05  # of calling anything odd where nothing is


def count_odd(ranked: npt.NDArray[np.float32]) -> int:
    """How many of the highest scores lie apart from the tail that the others form.

    The tail above a high quantile is taken as exponential. The gaps between its ordered values,
    each times its rank, are then independent and exponential with one mean (Sukhatme, Annals of
    Eugenics 8, 1937), so that a gap over the mean of those below it follows an F distribution
    whatever the scale. Gaps are tested outward, from the lowest that may be one: so two odd scores
    cannot hide each other, nor does one odd score make its neighbours odd.

    Args:
        ranked: (n,) scores, the highest first.

    Returns:
        At most `most_odd` of n.
    """
    most = most_odd(len(ranked))
    gaps = _normalised_gaps(ranked[: tail_length(len(ranked)) + 1])
    for odd in range(most, 0, -1):
        if _probability(gaps[odd - 1], gaps[odd:]) < FALSE_ALARM / most:
            return odd
    return 0


def most_odd(count: int) -> int:
    """How many of so many images can be odd; more that are alike are a kind of good part.

    None of fewer than 20, then one in 20 up to three, and from 300 on one in a hundred.
    """
    few = min(FEW, math.floor(SMALL_SHARE * count + 1e-9))
    return max(few, math.floor(LARGE_SHARE * count + 1e-9))


def tail_length(count: int) -> int:
    """How many of so many scores are taken for their tail; one more is where it begins."""
    return min(count - 1, max(MIN_TAIL, math.ceil(TAIL_SHARE * count)))


def _normalised_gaps(highest: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Each score's gap to the next lower one, times its rank from 1."""
    gaps = -np.diff(highest.astype(np.float64))
    return np.asarray(gaps * np.arange(1, len(highest)))


def _probability(gap: float, below: npt.NDArray[np.float64]) -> float:
    """Of so large a gap, by those below it: the tail of F with 2 and 2·len(below) degrees."""
    whole = float(below.sum())
    if whole <= 0:  # no scale to judge by
        return 1.0
    return float((whole / (whole + gap)) ** len(below))
