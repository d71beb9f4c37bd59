"""How a score is made of an anomaly map: of how many of its highest values, and in what unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from engines.record import Record

MAX_COUNT = 1 << 28  # values of the largest map
MAX_GAIN = 1e6  # a learnt one lies between 1e-3 and 1e3
MAX_OFFSET = 1e9
ScoreValues = npt.NDArray[np.float32]


class ScoreTerm(Record):
    """One thing that a defect may show by: ``gain · mean of the highest values + offset``.

    Attributes:
        count: of how many of the highest values the mean is taken; 1 is the maximum.
        gain: brings the mean to the unit of the other terms.
        offset: added to it.
    """

    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    gain: Annotated[float, Field(ge=1 / MAX_GAIN, le=MAX_GAIN)] = 1.0
    offset: Annotated[float, Field(ge=-MAX_OFFSET, le=MAX_OFFSET)] = 0.0

    def mean_at(self, score: float) -> float:
        """The mean of the highest values at which this term is the score."""
        return (score - self.offset) / self.gain


class ScoreRule(Record):
    """The score is the highest of its terms.

    Attributes:
        terms: at least one, those of fewest values first.
        stride: the values are every so-manyth of the map along each axis; 1 is all.
    """

    terms: Annotated[tuple[ScoreTerm, ...], Field(min_length=1, max_length=16)] = (ScoreTerm(),)
    stride: Annotated[int, Field(ge=1, le=64)] = 1

    @property
    def step(self) -> slice:
        """Which values along an axis: every so-manyth, from the middle of the first step on."""
        return slice(self.stride // 2, None, self.stride)

    @property
    def counts(self) -> tuple[int, ...]:
        """Of how many values each term is a mean."""
        return tuple(term.count for term in self.terms)

    def score(self, values: ScoreValues, *, of: int | None = None) -> float:
        """The score of a map's values.

        Args:
            values: (n,) every value that counts, n >= 1.
            of: how many values there would be if all counted: the terms' counts are then taken
                as shares of them, so that a mask changes nothing in what the score means.
        """
        share = len(values) / of if of else 1.0
        counts = [max(1, round(count * share)) for count in self.counts]
        means = means_of_highest(values, counts)
        return float(max(t.gain * m + t.offset for t, m in zip(self.terms, means, strict=True)))


MAXIMUM = ScoreRule()


def means_of_highest(values: ScoreValues, counts: Sequence[int]) -> npt.NDArray[np.float64]:
    """The mean of the `counts[i]` highest of (n,) values, or of all where there are fewer."""
    most = min(max(counts), len(values))
    highest = values if most == len(values) else np.partition(values, -most)[-most:]
    sums = np.cumsum(np.sort(highest)[::-1], dtype=np.float64)
    taken = np.minimum(counts, most)
    means: npt.NDArray[np.float64] = sums[taken - 1] / taken
    return means


def rule_from_kind(kind: str) -> ScoreRule:
    """What a manifest's kind of score says where it has no terms: ``top100``, else a maximum."""
    found = re.fullmatch(r"top([1-9][0-9]{0,5})", kind)
    return ScoreRule(terms=(ScoreTerm(count=int(found[1])),)) if found else MAXIMUM
