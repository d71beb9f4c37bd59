"""What a manifest says about its threshold: how it was set, from what, and what others do."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, TypeAlias

from pydantic import Field, model_validator

from engines.record import Float32, Quantity, Record, Share

MAX_KEPT = 4096  # held-out scores
MAX_HELD_OUT = 10_000_000  # images: the scores that were not kept are put in their places again
MAX_NAMED = 20  # odd images
MAX_NAME = 100  # last letters of an image's path, so that very many names fit in a manifest

ImageName: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class ThresholdRecord(Record):
    """The threshold and how it was set.

    Attributes:
        value: a score that reaches it is NG.
        method: how it was found, such as ``cross-fitted``; ``manual`` when it was set by hand.
        false_rejects_asked: rate of good parts that may be rejected, in [0, 1].
        bound: how `false_reject_bound` was computed, such as ``clopper-pearson``.
        confidence: of the bound, in (0, 1).
        held_out_images: good images that were not used to learn the prototypes.
        false_reject_bound: the rate of false rejects is at most this, with `confidence`.
        warning: what the user must know, such as too few images for the rate asked; empty if none.
        moved: by the parity gate, as a share of the margin, to where no verdict differs from fp32.
        odd: so many of the highest held-out scores were left out of it, for they lie apart.
        with_odd: where it would lie with them; None where there are none.
        not_extrapolated: where it would lie without a tail; None where there is none.
        raised_from: where it would lie were it not for images that were learnt from; None where
            those do not raise it.
    """

    value: Float32
    method: str
    false_rejects_asked: Share | None = None
    bound: str | None = None
    confidence: float | None = Field(default=None, gt=0, lt=1)
    held_out_images: Quantity | None = None
    false_reject_bound: Share | None = None
    warning: str = ""
    moved: Float32 = 0.0
    odd: Quantity = 0
    with_odd: Float32 | None = None
    not_extrapolated: Float32 | None = None
    raised_from: Float32 | None = None


class OddImageRecord(Record):
    """A good image that looks unlike the others: name of its file, and its held-out score."""

    file: str = Field(min_length=1, max_length=1000)
    score: Float32


class HeldOutRecord(Record):
    """Scores of good images that the inspector did not learn from.

    Of images that show one thing the highest score stands for all.

    Attributes:
        images: how many different things there were.
        highest: their scores, the highest first; of very many the highest `MAX_KEPT`.
        files: whose they are, in the same order: the end of each image's path; none in an older
            bundle.
        probabilities: the scores end at 1.
        odd: the images whose scores lie apart, the highest first; of many the first `MAX_NAMED`.
        learnt_images: likewise, how many the inspector did learn from; 0 in older bundles.
        learnt: theirs, the highest first; of very many the highest `MAX_KEPT`.
        rejected: images that are NG although they were learnt from, likewise named.
    """

    images: int = Field(ge=1, le=MAX_HELD_OUT)
    highest: tuple[Float32, ...] = Field(min_length=1, max_length=MAX_KEPT)
    files: tuple[ImageName, ...] = Field(default=(), max_length=MAX_KEPT)
    probabilities: bool = False
    odd: tuple[OddImageRecord, ...] = Field(default=(), max_length=MAX_NAMED)
    learnt_images: int = Field(default=0, ge=0, le=MAX_HELD_OUT)
    learnt: tuple[Float32, ...] = Field(default=(), max_length=MAX_KEPT)
    rejected: tuple[OddImageRecord, ...] = Field(default=(), max_length=MAX_NAMED)

    @model_validator(mode="after")
    def _scores_are_those_of_the_images(self) -> HeldOutRecord:
        for kept, images in ((self.highest, self.images), (self.learnt, self.learnt_images)):
            if len(kept) != min(images, MAX_KEPT):
                raise ValueError(f"{len(kept)} scores are kept of {images} images")
            if any(score < lower for score, lower in pairwise(kept)):
                raise ValueError("the highest score does not come first")
        if self.files and len(self.files) != len(self.highest):
            raise ValueError(f"{len(self.files)} images are named of {len(self.highest)} scores")
        return self


class OperatingPointRecord(Record):
    """A threshold, and what it rejects and lets pass.

    Attributes:
        threshold: a score that reaches it is NG.
        held_out_rejects, held_out_rate: held-out good images that reach it, and their share.
        false_rejects, false_reject_rate: likewise labelled good images; None without any.
        escapes, escape_rate: labelled defective images that pass; None without any.
        recommended: whether the build chose it.
    """

    threshold: Float32
    held_out_rejects: Quantity
    held_out_rate: Share
    false_rejects: Quantity | None = None
    false_reject_rate: Share | None = None
    escapes: Quantity | None = None
    escape_rate: Share | None = None
    recommended: bool = False
