"""Which of several forms suits a product, told by scores of good images and drawn defects.

The form that holds without a trial is given up only where another is clearly better: by more than
chance explains and by more than `WORTH`, for drawn defects tell large differences between forms as
real ones do, and small ones not. All forms judge the same pictures, several of each good image, so
what chance explains is the standard error of the *difference* of two AUROCs with images as units
(DeLong, DeLong, Clarke-Pearson, Biometrics 44, 1988; clusters: Obuchowski, Biometrics 53, 1997).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calibrate.protoad.options import Form
from calibrate.threshold import reaches, threshold_from_scores
from engines.tuning_record import TriedFormRecord

Scores = npt.NDArray[np.float32]

WORTH = 0.01  # of AUROC, that another form must gain
LOSS = 0.005  # of AUROC, that fewer prototypes surely do not lose
CONFIDENCE = 0.95  # two-sided, that a difference is none of chance: about 2 standard errors
FALSE_REJECTS = 0.01  # for which the threshold is set by which defects are counted as found


@dataclass(frozen=True, eq=False)
class TriedForm:
    """A form, and its scores of the same pictures as all others'.

    Attributes:
        form: what was tried.
        good: (n,) of good images that it did not learn from, n >= 2.
        drawn: (n, m) of each of them with a defect drawn into it, m times.
    """

    form: Form
    good: Scores
    drawn: Scores

    @cached_property
    def wins(self) -> npt.NDArray[np.float64]:
        """(n, n) how often image i with a defect scores above image j without; ties count half."""
        drawn, good = self.drawn[:, :, None], self.good
        won: npt.NDArray[np.float64] = ((drawn > good) + 0.5 * (drawn == good)).mean(axis=1)
        return won

    @property
    def auroc(self) -> float:
        """Of the pictures with a defect against those without."""
        return float(self.wins.mean())

    @property
    def found(self) -> float:
        """Share of the defects that reach the threshold which the good scores give."""
        threshold = threshold_from_scores(self.good, false_rejects=FALSE_REJECTS).value
        return float(reaches(self.drawn, threshold).mean())

    def gain(self, other: TriedForm) -> Gain:
        """What it gains over another form, in AUROC."""
        apart = self.wins - other.wins
        each = apart.mean(axis=1) + apart.mean(axis=0)
        error = float(each.std(ddof=1)) / math.sqrt(len(each))
        return Gain(float(apart.mean()), error, len(each))

    def record(self, first: TriedForm) -> TriedFormRecord:
        """For the manifest."""
        form = self.form
        return TriedFormRecord(
            metric=form.metric,
            shrinkage=form.shrinkage if form.metric == "whitened" else None,
            prototypes=form.prototypes,
            auroc=self.auroc,
            error=self.gain(first).error,
            found=self.found,
            good_score=float(np.median(self.good)),
        )


@dataclass(frozen=True, slots=True)
class Gain:
    """A difference of two AUROCs, its standard error, and of how many images."""

    mean: float
    error: float
    images: int

    @property
    def chance(self) -> float:
        """What chance explains."""
        from scipy.stats import t

        return float(t.ppf((1 + CONFIDENCE) / 2, self.images - 1)) * self.error

    @property
    def is_clear(self) -> bool:
        """Whether it is more than chance explains, and worth it."""
        return self.mean > max(WORTH, self.chance)

    @property
    def is_no_loss(self) -> bool:
        """Whether nothing is lost, nor likely to be."""
        return self.mean >= 0 and self.mean - self.chance >= -LOSS


def choose_form(tried: Sequence[TriedForm]) -> int:
    """The index of the form that suits.

    Args:
        tried: the first holds unless another is clearly better; of those that are, and are equal
            to the best but for chance, the one with fewest prototypes is taken; and where none is,
            the fewest with which the first loses nothing.
    """
    first = tried[0]
    better = [one for one in tried[1:] if one.gain(first).is_clear]
    if better:
        best = max(better, key=lambda one: one.auroc)
        alike = [one for one in better if _is_as_good(one, best, first)]
    else:
        alike = [first, *(one for one in tried[1:] if _is_spared(one, first))]
    chosen = min(alike, key=lambda one: (one.form.prototypes, -one.auroc))
    return next(index for index, one in enumerate(tried) if one is chosen)


def _is_as_good(one: TriedForm, best: TriedForm, first: TriedForm) -> bool:
    """Whether the best gains nothing clear over it; fewer prototypes than usual lose nothing."""
    if one is best:
        return True
    if one.form.prototypes < first.form.prototypes:
        return one.gain(best).is_no_loss
    return not best.gain(one).is_clear


def _is_spared(one: TriedForm, first: TriedForm) -> bool:
    """Whether it is the first form with fewer prototypes, and loses nothing."""
    fewer = one.form.prototypes < first.form.prototypes
    same = (one.form.metric, one.form.shrinkage) == (first.form.metric, first.form.shrinkage)
    return fewer and same and one.found >= first.found and one.gain(first).is_no_loss


def describe_choice(tried: Sequence[TriedForm], chosen: int) -> str:
    """Which form was taken, and why, in one sentence."""
    first, taken = tried[0], tried[chosen]
    pictures = f"{taken.drawn.size} defects drawn into {len(taken.good)} held-out good images"
    gain = taken.gain(first)
    if taken is first:
        if len(tried) == 1:
            return f"{describe_form(first.form)}: the good images have patches for no other form"
        best = max(tried[1:], key=lambda one: one.auroc)
        apart = best.gain(first)
        return (
            f"{describe_form(first.form)}: no other is clearly better on {pictures}: AUROC "
            f"{first.auroc:.3f}, the best other {best.auroc:.3f} ({describe_form(best.form)}, "
            f"{apart.mean:+.3f} ± {apart.error:.3f})"
        )
    told = f"AUROC {taken.auroc:.3f} on {pictures}"
    if gain.is_clear:
        return (
            f"{describe_form(taken.form)}: {told}, {gain.mean:+.3f} ± {gain.error:.3f} against "
            f"{describe_form(first.form)}"
        )
    return (
        f"{describe_form(taken.form)}: {told}, nothing lost against {first.form.prototypes} "
        f"({gain.mean:+.3f} ± {gain.error:.3f}), and faster"
    )


def describe_form(form: Form) -> str:
    """A form in a few words."""
    metric = form.metric if form.metric == "cosine" else f"whitened (shrinkage {form.shrinkage:g})"
    return f"{metric}, {form.prototypes} prototypes"
