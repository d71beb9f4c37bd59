"""Whether scores have shifted since the build: a sequential test on ranks.

A part's score is replaced by its rank among the build's held-out scores, from 0 to 1: uniform as
long as parts are like those of the build, whatever the scores' distribution. Three sums (E. S.
Page, "Continuous inspection schemes", Biometrika 41, 1954) watch its mean upwards, downwards, and
its distance from the middle. A rank is bounded, so one defective part weighs no more than the
highest good one: only a dozen rejected parts in a row, or more than one in three for long, are
told as drift; and since they are not left out, a drift that has every part rejected is told too.

The allowance grows as held-out scores get fewer, for their own ranks are then uncertain. With it,
of 600 simulated streams of 10 000 parts each that had not drifted, 0.7 % were told at 5 or 10
held-out scores, and none at 20 to 1 000.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_HELD_OUT = 5
LIMIT = 3.6  # of a sum, from which it is drift
ALLOWANCE = 0.16  # of the mean rank that is no drift, with endless held-out scores
ALLOWANCE_FEW = 0.6  # over the root of their number: twice the uncertainty of their mean rank
ENDS_BELOW = 0.25  # of the limit, at which a drift is over
WINDOW = 50  # parts of which median and spread are shown


class DriftState(str, enum.Enum):
    """What is known of a shift.

    Attributes:
        UNKNOWN: there is nothing to compare with.
        STEADY: scores are like the build's.
        HIGHER, LOWER: their ranks are.
        WIDER: they scatter more.
    """

    UNKNOWN = "unknown"
    STEADY = "steady"
    HIGHER = "higher"
    LOWER = "lower"
    WIDER = "wider"

    def __str__(self) -> str:
        return self.value


_SHIFTS = (DriftState.HIGHER, DriftState.LOWER, DriftState.WIDER)
_ADVICE = {
    DriftState.HIGHER: "score higher than good parts did: check light, lens and position, or build "
    "again with parts as they are now",
    DriftState.LOWER: "score lower than good parts did, and defects may too: check focus and "
    "exposure; images that were learnt score so",
    DriftState.WIDER: "scatter more than good parts did: check light, position and trigger, or "
    "whether two products pass",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, and median absolute deviation from it."""

    median: float
    spread: float

    @classmethod
    def of(cls, scores: npt.NDArray[np.floating[Any]]) -> Spread:
        """Of one score or more."""
        median = float(np.median(scores))
        return cls(median, float(np.median(np.abs(scores - median))))


class DriftDetector:
    """Follows the scores of one camera; one thread adds, any may read.

    Args:
        held_out: (n,) scores of good images that the inspector didn't learn from; too few, and
            nothing is ever told.

    Attributes:
        state: of now.
        parts: how many scores were added.
        built: of the held-out scores; None where they are too few.
    """

    def __init__(self, held_out: npt.NDArray[np.floating[Any]]) -> None:
        self._sorted = np.sort(np.asarray(held_out, np.float64))
        known = len(self._sorted) >= MIN_HELD_OUT
        self.state = DriftState.STEADY if known else DriftState.UNKNOWN
        self.parts = 0
        self.built = Spread.of(self._sorted) if known else None
        self._allowance = ALLOWANCE + ALLOWANCE_FEW / max(1, len(self._sorted)) ** 0.5
        self._sums = [0.0, 0.0, 0.0]
        self._latest: deque[float] = deque(maxlen=WINDOW)

    def add(self, score: float) -> DriftState:
        """Take a part's score, of any verdict but ERROR; return the state after it."""
        if self.built is None:
            return self.state
        self.parts += 1
        self._latest.append(score)
        below, upto = (
            int(np.searchsorted(self._sorted, score, side)) for side in ("left", "right")
        )
        off = (below + upto) / 2 / len(self._sorted) - 0.5
        for index, step in enumerate((off, -off, 2 * abs(off) - 0.5)):
            # Bounded above, so that it ends within a few dozen parts once its cause has.
            total = self._sums[index] + step - self._allowance
            self._sums[index] = min(max(0.0, total), 2 * LIMIT)
        self.state = self._find_state()
        return self.state

    @property
    def latest(self) -> Spread | None:
        """Of the last parts, rejected ones included, a few of which change neither."""
        return Spread.of(np.array([*self._latest])) if self._latest else None

    def describe(self) -> str:
        """Say that there is drift, how much, and what to do; empty if there is none."""
        latest = self.latest
        if self.state not in _ADVICE or latest is None or self.built is None:
            return ""
        return (
            f"drift: parts {_ADVICE[self.state]}; of the last {len(self._latest)} the median is "
            f"{latest.median:.4g} and the spread {latest.spread:.2g}, at the build "
            f"{self.built.median:.4g} and {self.built.spread:.2g}"
        )

    def to_json(self) -> dict[str, Any]:
        """State and figures."""
        latest = self.latest
        return {
            "state": str(self.state),
            "parts": self.parts,
            "median": None if latest is None else latest.median,
            "spread": None if latest is None else latest.spread,
            "built_median": None if self.built is None else self.built.median,
            "built_spread": None if self.built is None else self.built.spread,
        }

    def _find_state(self) -> DriftState:
        most = max(range(3), key=lambda index: self._sums[index])
        if self._sums[most] >= LIMIT:
            # What is far above is wide as well; up and down say more.
            shift = most if most < 2 or max(self._sums[:2]) < LIMIT else int(self._sums[1] >= LIMIT)
            return _SHIFTS[shift]
        if self.state in _SHIFTS and max(self._sums) >= ENDS_BELOW * LIMIT:
            return self.state
        return DriftState.STEADY
