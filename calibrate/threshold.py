"""The threshold: what it means to reach it, and how it is set from good images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

Method: TypeAlias = Literal["order statistic", "tail"]
CONFIDENCE = 0.95
TAIL_SHARE = 0.1  # of the scores, to which the tail is fitted
MIN_TAIL = 5
NEAREST = 1e-7  # to 0 and 1 that a probability is told from them


@overload
def reaches(values: float | np.floating, threshold: float) -> bool: ...
@overload
def reaches(values: npt.NDArray[np.floating], threshold: float) -> npt.NDArray[np.bool_]: ...
def reaches(values: float | npt.ArrayLike, threshold: float) -> bool | npt.NDArray[np.bool_]:
    """Whether a score, or each value of a map or of many scores, reaches a threshold.

    The one comparison, for building, evaluating, inspecting and drawing. Both sides are taken as
    float32, which engines compute in: the further digits of a threshold in text or JSON must not
    tell a score from a threshold that is equal to it. NaN reaches nothing.

    Args:
        values: one, or an array of any shape.
        threshold: finite as a float32.
    """
    with np.errstate(over="ignore"):
        found = np.asarray(values, np.float32) >= np.float32(threshold)
    return bool(found) if found.ndim == 0 else found


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and what can be said for it. A score that `reaches` `value` is a reject.

    All is said of scores alone: a smallest area, which only accepts more, is left out.

    Attributes:
        value: the threshold.
        method: ``order statistic`` where the images suffice for the rate asked, otherwise
            ``tail``: extrapolated.
        false_rejects: the rate that was asked for.
        held_out: good images it was set from; none of them taught its own prototypes.
        rejected: how many of those reach it.
        bound: the true rate is at most this, with `confidence`.
        confidence: of the bound.
        warning: why the rate asked is not proven; empty when it is.
        moved: from where the rate puts it, as a share of the margin (see docs/precision.md).
    """

    value: float
    method: Method
    false_rejects: float
    held_out: int
    rejected: int
    bound: float
    confidence: float
    warning: str
    moved: float = 0.0


def threshold_from_scores(
    scores: npt.NDArray[np.float32],
    *,
    false_rejects: float,
    confidence: float = CONFIDENCE,
    probabilities: bool = False,
) -> Threshold:
    """Set the threshold from the scores of good images that did not teach the prototypes.

    With n images and a rate r, n·r >= 1, it lies just above the order statistic that leaves
    ⌊n·r⌋ images above it. With fewer images it is extrapolated: the excess over the 90th
    percentile is taken as exponential (the generalised Pareto tail with shape 0), and never
    lies below the highest score seen.

    The bound is Clopper and Pearson's, one-sided. It holds for an order statistic of the very
    scores too: the mass above the (n−k)-th of n is Beta(k+1, n−k) whatever the distribution.

    Args:
        scores: (n,) finite, n >= 2.
        false_rejects: the rate, in (0, 1).
        confidence: of the bound.
        probabilities: the scores end at 1, as a sigmoid's do: the tail is that of their logits,
            so that no threshold lies beyond what a score can reach.

    Raises:
        ValueError: fewer than two scores, a non-finite one, or a rate outside (0, 1).
    """
    if len(scores) < 2 or not np.isfinite(scores).all():
        raise ValueError(f"{len(scores)} scores; at least 2 are needed, and all of them finite")
    if not 0 < false_rejects < 1:
        raise ValueError(f"rate of false rejects {false_rejects}; must lie between 0 and 1")
    ranked = np.sort(np.asarray(scores, np.float32))[::-1]
    allowed = math.floor(len(ranked) * false_rejects + 1e-9)
    enough = allowed >= 1
    if enough:
        value = float(ranked[allowed])
    elif probabilities:
        value = _probability(_tail_quantile(_logits(ranked), false_rejects))
    else:
        value = _tail_quantile(ranked, false_rejects)
    return _describe(
        _just_above(max(value, float(ranked[allowed]))),
        ranked,
        method="order statistic" if enough else "tail",
        false_rejects=false_rejects,
        confidence=confidence,
    )


def move_threshold(
    threshold: Threshold, value: float, *, scores: npt.NDArray[np.float32], margin: float
) -> Threshold:
    """The same threshold elsewhere, with what can be said for it there.

    Args:
        threshold: as it was set from the scores.
        value: the new one.
        scores: (n,) that it was set from.
        margin: that the way is told as a share of.
    """
    found = _describe(
        value,
        scores,
        method=threshold.method,
        false_rejects=threshold.false_rejects,
        confidence=threshold.confidence,
    )
    return replace(found, moved=threshold.moved + (value - threshold.value) / margin)


def _describe(
    value: float,
    scores: npt.NDArray[np.float32],
    *,
    method: Method,
    false_rejects: float,
    confidence: float,
) -> Threshold:
    rejected = int(reaches(scores, value).sum())
    bound = upper_bound(rejected, len(scores), confidence)
    return Threshold(
        value=value,
        method=method,
        false_rejects=false_rejects,
        held_out=len(scores),
        rejected=rejected,
        bound=bound,
        confidence=confidence,
        warning=_warning(len(scores), false_rejects, bound, confidence),
    )


def upper_bound(events: int, trials: int, confidence: float) -> float:
    """Clopper and Pearson's one-sided upper bound of a rate (Biometrika 26, 1934)."""
    from scipy.stats import beta

    if events >= trials:
        return 1.0
    return float(beta.ppf(confidence, events + 1, trials - events))


def images_needed(false_rejects: float, confidence: float = CONFIDENCE) -> int:
    """How many good images, none of them rejected, prove a rate."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - false_rejects))


def _tail_quantile(ranked: npt.NDArray[np.float32], rate: float) -> float:
    """The quantile at 1 − `rate`, from an exponential fitted to the highest scores."""
    count = len(ranked)
    most = min(count - 1, max(MIN_TAIL, math.ceil(TAIL_SHARE * count)))
    start = float(ranked[most])
    excess = float(ranked[:most].astype(np.float64).mean()) - start
    return max(float(ranked[0]), start + excess * math.log(most / (count * rate)))


def _logits(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    inside = np.clip(scores.astype(np.float64), NEAREST, 1 - NEAREST)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _just_above(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def _warning(count: int, rate: float, bound: float, confidence: float) -> str:
    if bound <= rate:
        return ""
    needed = images_needed(rate, confidence)
    if count >= needed:
        return (
            f"{count} good images bound the rate of false rejects at {bound:.2%} with "
            f"{confidence:.0%} confidence, above the {rate:.2%} asked for"
        )
    return (
        f"{count} good images cannot prove a rate of {rate:.2%}: with {confidence:.0%} confidence "
        f"it is at most {bound:.2%}; {needed} images would prove it"
    )
