"""What other thresholds would reject and let pass, and when that is a matter of alarm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calibrate.threshold import reaches, threshold_from_scores
from engines.threshold_records import OperatingPointRecord

RATES = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08)  # of false rejects, that are compared
MIN_POINTS = 5


@dataclass(frozen=True, slots=True)
class LabelledCounts:
    """What thresholds do with labelled images.

    Attributes:
        good, defects: how many there are of each.
        false_rejects, escapes: at each threshold.
    """

    good: int
    defects: int
    false_rejects: tuple[int, ...]
    escapes: tuple[int, ...]


def thresholds_to_compare(
    scores: npt.NDArray[np.float32], *, probabilities: bool = False, others: Sequence[float] = ()
) -> tuple[float, ...]:
    """Thresholds for several rates of false rejects, and others; the highest first, each once.

    Where the images are too few for different thresholds at the usual rates, those follow that
    reject one more of them each.

    Args:
        scores: (n,) held out, n >= 2.
        probabilities: the scores end at 1.
        others: such as the one that was chosen.
    """
    threshold_for = partial(threshold_from_scores, scores, probabilities=probabilities)
    count = len(scores) - threshold_for(false_rejects=0.5).odd
    allowed = {math.floor(count * rate + 1e-9) for rate in RATES}
    allowed |= set(range(min(MIN_POINTS, count)) if len(allowed) < MIN_POINTS else ())
    rates = [(number + 0.5) / count for number in allowed]
    found = {threshold_for(false_rejects=rate).value for rate in rates}
    found |= {float(np.float32(value)) for value in others}
    return tuple(sorted(found, reverse=True))


def operating_points(
    thresholds: Sequence[float],
    scores: npt.NDArray[np.float32],
    *,
    recommended: float,
    labelled: LabelledCounts | None = None,
) -> tuple[OperatingPointRecord, ...]:
    """What each threshold does.

    Args:
        thresholds: in their order.
        scores: (n,) held out.
        recommended: the threshold that the build chose.
        labelled: at each threshold; None without labelled images.
    """
    return tuple(
        _point(threshold, scores, recommended=recommended, labelled=labelled, index=index)
        for index, threshold in enumerate(thresholds)
    )


def _point(
    threshold: float,
    scores: npt.NDArray[np.float32],
    *,
    recommended: float,
    labelled: LabelledCounts | None,
    index: int,
) -> OperatingPointRecord:
    rejects = int(reaches(scores, threshold).sum())
    counts: dict[str, Any] = {}
    if labelled and labelled.good:
        count = labelled.false_rejects[index]
        counts |= {"false_rejects": count, "false_reject_rate": count / labelled.good}
    if labelled and labelled.defects:
        count = labelled.escapes[index]
        counts |= {"escapes": count, "escape_rate": count / labelled.defects}
    return OperatingPointRecord(
        threshold=float(str(np.float32(threshold))),  # no more digits than it has
        held_out_rejects=rejects,
        held_out_rate=rejects / len(scores),
        recommended=bool(np.float32(threshold) == np.float32(recommended)),
        **counts,
    )


def alarm_of_escapes(escapes: int, defects: int) -> str:
    """What must be said where half of the labelled defects pass, or more; otherwise empty."""
    if not defects or 2 * escapes < defects:
        return ""
    if escapes == defects:
        which = (
            f"all your {defects} labelled defects pass"
            if defects > 1
            else ("your only labelled defect passes")
        )
        return f"{which}: the inspector is blind to them at this threshold"
    return f"{escapes} of {defects} labelled defects pass: the inspector is nearly blind"
