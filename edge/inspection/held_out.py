"""The held-out scores that a bundle keeps, and the thresholds that they support."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.threshold import (
    Threshold,
    raise_above_learnt,
    require_support,
    threshold_from_scores,
)
from cameras.redaction import printable_path
from engines.manifest import Manifest
from engines.threshold_records import MAX_NAME, HeldOutRecord, ThresholdRecord


def scores_of_record(record: HeldOutRecord) -> npt.NDArray[np.float32]:
    """(n,) float32, the highest first; those that were not kept lie at the lowest that was."""
    return _all_scores(record.highest, record.images)


def image_names(files: Sequence[Path]) -> list[str]:
    """What a record calls images: the ends of their paths, below the folder of all of them."""
    whole = [path.absolute() for path in files]
    top = os.path.commonpath([path.parent for path in whole]) if whole else ""
    return [printable_path(os.path.relpath(path, top))[-MAX_NAME:] for path in whole]


def _all_scores(kept: Sequence[float], images: int) -> npt.NDArray[np.float32]:
    scores = np.asarray(kept, np.float32)
    return np.pad(scores, (0, images - len(scores)), mode="edge") if len(scores) else scores


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
    record = manifest.held_out
    if record is None:
        raise ValueError(
            "it keeps no held-out scores, for an older version built it; build it again, or give "
            "the threshold itself"
        )
    found = threshold_of_record(record, asked)
    require_support(found)
    return found


def threshold_of_record(record: HeldOutRecord, asked: RateOfRejects) -> Threshold:
    """The threshold that recorded scores give, be the rate supported or not.

    Raises:
        ValueError: the rate is none.
    """
    scores = scores_of_record(record)
    found = threshold_from_scores(
        scores,
        false_rejects=asked.rate,
        probabilities=record.probabilities,
        extrapolate=asked.extrapolate,
    )
    return raise_above_learnt(
        found,
        scores=scores,
        learnt=_all_scores(record.learnt, record.learnt_images),
        probabilities=record.probabilities,
    )


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
        raised_from=threshold.raised_from,
    )
