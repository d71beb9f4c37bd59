"""The threshold: what it means to reach it, and how it is set from good images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from calibrate.odd_scores import count_odd, tail_length

Method: TypeAlias = Literal["order statistic", "highest scores", "tail"]
CONFIDENCE = 0.95
LARGE_GAP = 10  # times the rate asked that the bound may be before it is a matter of warning
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
        method: ``order statistic`` where the images suffice for the rate asked; ``highest scores``
            where they don't; ``tail`` where it was extrapolated nevertheless.
        false_rejects: the rate that was asked for.
        held_out: good images it was set from; none of them taught its own prototypes.
        rejected: how many of those reach it.
        bound: the true rate is at most this, with `confidence`.
        confidence: of the bound.
        warning: that the images say next to nothing of the rate asked, for the bound is ten times
            as high or more; empty where it is lower.
        moved: from where the rate puts it, as a share of the margin (see docs/precision.md).
        odd: so many of the highest scores were left out of it, for they lie apart.
        with_odd: where it would lie with them.
        not_extrapolated: where it would lie without a tail.
        raised_from: where it would lie were it not for images that were learnt from.
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
    odd: int = 0
    with_odd: float | None = None
    not_extrapolated: float | None = None
    raised_from: float | None = None

    @property
    def images_to_prove(self) -> int | None:
        """How many further good images, none of them rejected, would prove the rate asked.

        None where it is proven.
        """
        if self.bound <= self.false_rejects:
            return None
        return images_needed(self.false_rejects, self.confidence)

    @property
    def least_rate(self) -> float:
        """Of false rejects that so many images support, those that lie apart left out."""
        return 1 / (self.held_out - self.odd)


class RateError(ValueError):
    """A rate of false rejects that so few good images cannot support."""


def threshold_from_scores(
    scores: npt.NDArray[np.float32],
    *,
    false_rejects: float,
    confidence: float = CONFIDENCE,
    probabilities: bool = False,
    extrapolate: bool = False,
) -> Threshold:
    """Set the threshold from the scores of good images that did not teach the prototypes.

    Scores that lie apart from all others (`calibrate.odd_scores`) are left out first. With n that
    remain and a rate r, n·r >= 1, it lies just above the order statistic that leaves ⌊n·r⌋ of them
    above it. Fewer support no rate below about 1/n, and it is set for that: by an exponential
    tail (the generalised Pareto with shape 0) fitted to the ten highest scores or more, for the
    single highest varies too much; and never above that one. Only where that is wished for is the
    tail extrapolated to the rate; the threshold then never lies below the highest.

    The bound is Clopper and Pearson's, one-sided, of all scores, those left out among them. It
    holds for an order statistic of the very scores too: the mass above the (n−k)-th of n is
    Beta(k+1, n−k) whatever the distribution.

    Args:
        scores: (n,) finite, n >= 1, one for each different thing that the images show.
        false_rejects: the rate, in (0, 1).
        confidence: of the bound.
        probabilities: the scores end at 1, as a sigmoid's do: the tail is that of their logits,
            so that no threshold lies beyond what a score can reach.
        extrapolate: where there are too few images for the rate, rather than take the highest.

    Raises:
        ValueError: no score, a non-finite one, or a rate outside (0, 1).
    """
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"{len(scores)} scores; at least one is needed, and all of them finite")
    if not 0 < false_rejects < 1:
        raise ValueError(f"rate of false rejects {false_rejects}; must lie between 0 and 1")
    ranked = np.sort(np.asarray(scores, np.float32))[::-1]
    odd = count_odd(_logits(ranked) if probabilities else ranked)
    rule = _Rule(false_rejects, probabilities, extrapolate)
    value = rule.place(ranked[odd:])
    plain = replace(rule, extrapolate=False).place(ranked[odd:])
    found = _describe(
        value,
        ranked,
        method=rule.method(len(ranked) - odd),
        false_rejects=false_rejects,
        confidence=confidence,
    )
    return replace(
        found,
        odd=odd,
        with_odd=rule.place(ranked) if odd else None,
        not_extrapolated=plain if found.method == "tail" else None,
    )


def raise_above_learnt(
    threshold: Threshold,
    *,
    scores: npt.NDArray[np.float32],
    learnt: npt.NDArray[np.float32],
    probabilities: bool = False,
) -> Threshold:
    """The threshold, so high that it keeps the rate on images that were learnt from, too.

    It is set from inspectors that learnt a part of the images, and judges with one that learnt all
    of them. Where good images are few or much alike that one may score higher than those do, and
    reject what it was taught. So by the rule of `threshold_from_scores` at most ⌊n·r⌋ of the learnt
    scores reach it, and none where n·r < 1, those left out that lie apart.

    Args:
        threshold: as it was set.
        scores: (n,) that it was set from.
        learnt: (m,) of images that the inspector learnt from; none changes nothing.
        probabilities: the scores end at 1.
    """
    if not len(learnt):
        return threshold
    ranked = np.sort(np.asarray(learnt, np.float32))[::-1]
    odd = count_odd(_logits(ranked) if probabilities else ranked)
    allowed = math.floor((len(ranked) - odd) * threshold.false_rejects + 1e-9)
    least = _just_above(float(ranked[odd + allowed]))
    if least <= threshold.value:
        return threshold
    return replace(_at(threshold, least, scores), raised_from=threshold.value)


def require_support(threshold: Threshold) -> None:
    """Refuse a rate that the images do not support, and that was not extrapolated.

    Raises:
        RateError: it is such a one.
    """
    if threshold.method == "highest scores":
        rate, least = threshold.false_rejects, threshold.least_rate
        raise RateError(
            f"{threshold.held_out - threshold.odd} held-out good images cannot support a rate of "
            f"{rate:.3%}; give {math.ceil(least * 1e4) / 1e4:g} or more, or add --extrapolate"
        )


@dataclass(frozen=True, slots=True)
class _Rule:
    """Where a rate puts a threshold among scores."""

    false_rejects: float
    probabilities: bool
    extrapolate: bool

    def method(self, count: int) -> Method:
        """How it is found from so many scores."""
        if self._allowed(count):
            return "order statistic"
        return "tail" if self.extrapolate else "highest scores"

    def place(self, ranked: npt.NDArray[np.float32]) -> float:
        """The threshold; scores with the highest first."""
        method, highest = self.method(len(ranked)), float(ranked[0])
        if len(ranked) == 1:
            return _just_above(highest)
        if method == "order statistic":
            return _just_above(float(ranked[self._allowed(len(ranked))]))
        if method == "tail":
            return _just_above(max(highest, self._tail_quantile(ranked, self.false_rejects)))
        return _just_above(min(highest, self._tail_quantile(ranked, 1 / len(ranked))))

    def _tail_quantile(self, ranked: npt.NDArray[np.float32], rate: float) -> float:
        if self.probabilities:
            return _probability(_tail_quantile(_logits(ranked), rate))
        return _tail_quantile(ranked, rate)

    def _allowed(self, count: int) -> int:
        return math.floor(count * self.false_rejects + 1e-9)


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
    moved = threshold.moved + (value - threshold.value) / margin
    return replace(_at(threshold, value, scores), moved=moved)


def _at(threshold: Threshold, value: float, scores: npt.NDArray[np.float32]) -> Threshold:
    """The same threshold at another value, with what its scores say of it there."""
    found = _describe(
        value,
        scores,
        method=threshold.method,
        false_rejects=threshold.false_rejects,
        confidence=threshold.confidence,
    )
    return replace(
        threshold, value=value, rejected=found.rejected, bound=found.bound, warning=found.warning
    )


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
    length = tail_length(len(ranked))
    start = float(ranked[length])
    excess = float(ranked[:length].astype(np.float64).mean()) - start
    return start + excess * math.log(length / (len(ranked) * rate))


def _logits(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    inside = np.clip(scores.astype(np.float64), NEAREST, 1 - NEAREST)
    return np.asarray(np.log(inside / (1 - inside)), np.float32)


def _probability(logit: float) -> float:
    """Never so near to 1 that what lies just above it is out of reach."""
    return min(1 / (1 + math.exp(-logit)), 1 - NEAREST)


def _just_above(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def _warning(count: int, rate: float, bound: float, confidence: float) -> str:
    if bound < LARGE_GAP * rate:
        return ""
    return (
        f"{count} good images are far too few for a rate of {rate:.2%}: with {confidence:.0%} "
        f"confidence it is at most {bound:.2%}; {images_needed(rate, confidence)} further ones, "
        "none of them rejected, would prove it"
    )
