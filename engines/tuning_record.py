"""What a manifest says of the forms of an inspector that were tried."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engines.record import (
    MAX_LISTED,
    Float32,
    Magnitude,
    PositiveQuantity,
    Quantity,
    Record,
    Share,
)


class TriedFormRecord(Record):
    """One form, and what it made of drawn defects.

    Attributes:
        metric: ``whitened`` or ``cosine``.
        shrinkage: of the whitening; None with the cosine.
        prototypes: at most how many.
        auroc: of the pictures with a drawn defect against those without.
        error: standard error of its difference from the first form's; 0 for that itself.
        found: share of the drawn defects that reach a threshold set from the good scores.
        good_score: median of the good images' scores, in this form's own unit.
    """

    metric: Literal["whitened", "cosine"]
    shrinkage: Annotated[float, Field(gt=0)] | None = None
    prototypes: PositiveQuantity
    auroc: Share
    error: Magnitude
    found: Share
    good_score: Float32


class TuningRecord(Record):
    """Which form was chosen by defects drawn into good images that were not learnt from.

    Attributes:
        images: good images that were drawn into.
        drawn: defects.
        forms: that were tried; the first holds unless another is clearly better.
        chosen: index of the form that was taken.
        reason: why, in one sentence.
    """

    images: Quantity
    drawn: Quantity
    forms: Annotated[tuple[TriedFormRecord, ...], Field(max_length=MAX_LISTED)]
    chosen: Quantity
    reason: str

    @model_validator(mode="after")
    def _one_of_them_is_taken(self) -> TuningRecord:
        if self.chosen >= max(1, len(self.forms)):
            raise ValueError(f"form {self.chosen} of {len(self.forms)} is taken")
        return self
