"""From which value of the map a pixel of an NG belongs to a region: learnt as the threshold is."""

from __future__ import annotations

from calibrate.threshold import Threshold, threshold_from_scores
from edge.building.methods import Taught
from edge.options import BuildOptions


def pixel_threshold_from_peaks(
    taught: Taught, threshold: Threshold, *, options: BuildOptions
) -> float | None:
    """The threshold that held-out good maps' highest values give, by the same rule and rate.

    None where the score is the map's highest value itself: there is one threshold then.

    Args:
        taught: whose maps.
        threshold: of its scores, as it is shipped.
        options: with the rate, and what to do where the images are too few for it.
    """
    if taught.score_kind == "smoothed":
        return None
    peaks = threshold_from_scores(
        taught.inspector.peaks,
        false_rejects=options.false_rejects,
        probabilities=taught.probabilities,
        extrapolate=options.extrapolate,
    )
    return peaks.value
