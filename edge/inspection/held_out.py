"""The held-out scores that a bundle keeps, and the thresholds that they support."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibrate.threshold import Threshold, require_support, threshold_from_scores
from engines.manifest import Manifest
from engines.threshold_records import HeldOutRecord, ThresholdRecord


def scores_of_record(record: HeldOutRecord) -> npt.NDArray[np.float32]:
    """(n,) float32, the highest first; those that were not kept lie at the lowest that was."""
    missing = record.images - len(record.highest)
    scores = np.asarray(record.highest, np.float32)
    return np.concatenate([scores, np.full(missing, scores[-1])])


@dataclass(frozen=True, slots=True)
class RateOfRejects:
    """A rate of false rejects that is asked for.

    Attributes:
        rate: in (0, 1).
        extrapolate: beyond the highest score, where too few images support it.
    """

    rate: float
    extrapolate: bool = False


def threshold_for_rate(manifest: Manifest, asked: RateOfRejects) -> Threshold:
    """The threshold that a bundle's held-out scores give for a rate of false rejects.

    Raises:
        ValueError: the bundle keeps no such scores, or the rate is none.
        RateError: too few images support the rate, and it is not to be extrapolated.
    """
    if manifest.held_out is None:
        raise ValueError(
            "it keeps no held-out scores, for an older version built it; build it again, or give "
            "the threshold itself"
        )
    found = threshold_from_scores(
        scores_of_record(manifest.held_out),
        false_rejects=asked.rate,
        probabilities=manifest.held_out.probabilities,
        extrapolate=asked.extrapolate,
    )
    require_support(found)
    return found


def threshold_record(threshold: Threshold, *, how: str) -> ThresholdRecord:
    """The threshold, and what can be said for it; `how` the scores were held out."""
    return ThresholdRecord(
        value=threshold.value,
        method=f"{how}, {threshold.method}",
        false_rejects_asked=threshold.false_rejects,
        bound="clopper-pearson",
        confidence=threshold.confidence,
        held_out_images=threshold.held_out,
        false_reject_bound=threshold.bound,
        warning=threshold.warning,
        moved=threshold.moved,
        odd=threshold.odd,
        with_odd=threshold.with_odd,
        not_extrapolated=threshold.not_extrapolated,
    )
