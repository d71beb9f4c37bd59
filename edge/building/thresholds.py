"""The thresholds of an inspector that was learnt: of its scores, and of its maps' pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibrate.threshold import Threshold, raise_above_learnt, threshold_from_scores
from edge.building.methods import Taught
from edge.options import BuildOptions


def threshold_of_scores(taught: Taught, options: BuildOptions) -> Threshold:
    """From held-out good scores, and so high that what was learnt passes at the same rate.

    Args:
        taught: whose scores.
        options: with the rate, and what to do where the images are too few for it.
    """
    scores = taught.inspector.held_out
    return raise_above_learnt(
        _threshold(scores, taught, options=options),
        scores=scores,
        learnt=taught.inspector.learnt.values,
        probabilities=taught.probabilities,
    )


def threshold_of_pixels(taught: Taught, options: BuildOptions) -> float | None:
    """From which value of the map on a pixel of an NG belongs to a region.

    Held-out good maps' highest values give it, by the same rule and rate. None where the score is
    the map's highest value itself: there is one threshold then.
    """
    if taught.score_kind == "smoothed":
        return None
    return _threshold(taught.inspector.peaks, taught, options=options).value


def _threshold(
    scores: npt.NDArray[np.float32], taught: Taught, *, options: BuildOptions
) -> Threshold:
    return threshold_from_scores(
        scores,
        false_rejects=options.false_rejects,
        probabilities=taught.probabilities,
        extrapolate=options.extrapolate,
    )
