"""What any threshold would reject and let pass: good images, marked parts, drawn defects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from calibrate.threshold import CONFIDENCE, reaches, upper_bound
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from edge.inspection.held_out import scores_of_record
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_from_bundle
from edge.options.review import PartsOptions
from edge.review.moments import NS_PER_S
from edge.review.parts import PartStore, ReviewedPart
from engines.bundle import Bundle
from engines.manifest import Manifest

MOST_PARTS = 5_000  # marked ones; the newest


@dataclass(frozen=True, slots=True)
class ThresholdCounts:
    """What a threshold does. Scores alone decide: a smallest area, which only accepts, is left out.

    Attributes:
        threshold: a score that reaches it is NG.
        good: different good images that the inspector did not learn from; 0 in an older bundle.
        good_rejected: how many of those are NG.
        bound: the rate of false rejects is at most this, with 95 % confidence (Clopper, Pearson).
        marked_good: parts that were marked good.
        marked_good_rejected: how many of those are NG.
        marked_defective: parts that were marked defective.
        marked_defective_passed: how many of those are OK.
        drawn: defects that were drawn into good images.
        drawn_passed: how many of those are OK; None where the bundle does not keep their scores.
    """

    threshold: float
    good: int
    good_rejected: int
    bound: float
    marked_good: int
    marked_good_rejected: int
    marked_defective: int
    marked_defective_passed: int
    drawn: int
    drawn_passed: int | None


@dataclass(frozen=True, slots=True, eq=False)
class ScoresOfBundle:
    """All scores by which a threshold is chosen.

    Attributes:
        good: (n,) float32 of good images that were not learnt from, the highest first.
        names: of the images of the first of them; none in an older bundle.
        drawn: (m,) float32 of pictures with a drawn defect, rising; none in an older bundle.
        drawn_count: how many were drawn, of which `drawn` may be a sample.
        drawn_passed_at: a threshold, and how many drawn defects pass there; None without any.
        marked: parts that were marked good or defective and have a score.
        outdated: likewise, scored by another version of the inspector or with another region.
    """

    good: npt.NDArray[np.float32]
    names: tuple[str, ...]
    drawn: npt.NDArray[np.float32]
    drawn_count: int
    drawn_passed_at: tuple[float, int] | None
    marked: tuple[ReviewedPart, ...] = ()
    outdated: tuple[ReviewedPart, ...] = ()

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> ScoresOfBundle:
        """Those that a bundle keeps."""
        held_out, drawn = manifest.held_out, manifest.drawn_defects
        return cls(
            good=scores_of_record(held_out) if held_out else np.empty(0, np.float32),
            names=held_out.files if held_out else (),
            drawn=np.asarray(drawn.scores if drawn else (), np.float32),
            drawn_count=drawn.drawn if drawn else 0,
            drawn_passed_at=(drawn.threshold, drawn.drawn - drawn.found) if drawn else None,
        )

    def with_parts(self, parts: Iterable[ReviewedPart], manifest: Manifest) -> ScoresOfBundle:
        """The same, and marked parts; those without a score or of another use are left out."""
        since_ns = scores_hold_since(manifest).timestamp() * NS_PER_S
        told = [one for one in parts if one.mark in _KINDS and one.score is not None]
        return replace(
            self,
            marked=tuple(one for one in told if one.captured_at_ns >= since_ns),
            outdated=tuple(one for one in told if one.captured_at_ns < since_ns),
        )

    def rescored(self, score: Callable[[ReviewedPart], float | None]) -> ScoresOfBundle:
        """The same with the outdated parts scored anew; those that have no score are left out.

        Args:
            score: of a part's picture, by the inspector as it is now.
        """
        anew = [replace(one, score=score(one)) for one in self.outdated]
        known = (*self.marked, *(one for one in anew if one.score is not None))
        return replace(self, marked=known, outdated=())

    def at(self, threshold: float) -> ThresholdCounts:
        """What a threshold would do."""
        rejected = _count(self.good, threshold)
        good, defective = (self.scores_of(mark) for mark in _KINDS)
        return ThresholdCounts(
            threshold=threshold,
            good=len(self.good),
            good_rejected=rejected,
            bound=upper_bound(rejected, len(self.good), CONFIDENCE),
            marked_good=len(good),
            marked_good_rejected=_count(good, threshold),
            marked_defective=len(defective),
            marked_defective_passed=len(defective) - _count(defective, threshold),
            drawn=self.drawn_count,
            drawn_passed=self._drawn_passed(threshold),
        )

    def scores_of(self, mark: str) -> npt.NDArray[np.float32]:
        """Those of the parts of a mark."""
        return np.array([one.score for one in self.marked if one.mark == mark], np.float32)

    def _drawn_passed(self, threshold: float) -> int | None:
        if len(self.drawn):
            passed = len(self.drawn) - _count(self.drawn, threshold)
            return round(passed * self.drawn_count / len(self.drawn))
        if self.drawn_passed_at and np.float32(self.drawn_passed_at[0]) == np.float32(threshold):
            return self.drawn_passed_at[1]
        return None


_KINDS = ("good", "defective")


def marked_parts_of(store: PartStore, *, camera: str | None = None) -> list[ReviewedPart]:
    """The newest parts that were marked good or defective.

    Args:
        store: of the parts.
        camera: whose inspector it is about; None is all cameras.

    Raises:
        SinkError: the database cannot be read.
    """
    options = PartsOptions(marked="any", camera=camera, limit=MOST_PARTS)
    return [one for one in store.parts(options) if one.mark in _KINDS]


def scores_hold_since(manifest: Manifest) -> datetime:
    """Since when an inspector scores as it does now: its graph, region and mask are as old."""
    changed = [one.changed for one in manifest.changes if one.setting in ("roi", "ignore")]
    return max((manifest.created, *changed))


def score_anew(scores: ScoresOfBundle, bundle: Bundle, *, engine: str) -> ScoresOfBundle:
    """The scores with those of outdated parts as the bundle gives them now.

    A part whose picture cannot be judged is left out.

    Raises:
        EngineError: the engine can't work here.
    """
    if not scores.outdated:
        return scores
    with Inspector(bundle, settings=settings_from_bundle(bundle), engine=engine) as inspector:

        def score(part: ReviewedPart) -> float | None:
            try:
                image = image_from_file(part.picture) if part.picture else None
            except ImageError:
                return None
            return None if image is None else inspector.inspect(image).score

        return scores.rescored(score)


def _count(scores: npt.NDArray[np.float32], threshold: float) -> int:
    return int(reaches(scores, threshold).sum())
