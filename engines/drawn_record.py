"""What a manifest says of defects that were drawn into good images."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from engines.record import MAX_LISTED, Float32, PositiveQuantity, Quantity, Record, Share

MAX_CONTRAST = 1e6
MAX_SIDE_OF_PICTURE = 1e6  # px
MAX_SCORES = 4096
Outlook: TypeAlias = Literal["fine", "short-sighted", "blind"]


class DrawnCellRecord(Record):
    """Drawn defects that are alike.

    Attributes:
        size: extent, as a share of the pictures' shorter side.
        kind: what they do to the surface, such as ``darker``.
        contrast: as a multiple of how much a picture varies around the place.
        drawn, found: how many there were, and how many of their pictures are rejected.
    """

    size: Annotated[float, Field(gt=0, le=1)]
    kind: Annotated[str, Field(max_length=200)]
    contrast: Annotated[float, Field(gt=0, le=MAX_CONTRAST)]
    drawn: PositiveQuantity
    found: Quantity

    @model_validator(mode="after")
    def _no_more_found_than_drawn(self) -> DrawnCellRecord:
        if self.found > self.drawn:
            raise ValueError(f"{self.found} defects are found of {self.drawn} that were drawn")
        return self


class DrawnDefectsRecord(Record):
    """What is found of defects that were drawn into good images that were not learnt from.

    Attributes:
        threshold: by which they were judged.
        images: good images that were drawn into.
        shorter_side: of what is inspected of them, in px of the camera's picture; their median.
        cells: defects by size, kind and contrast.
        scores: of the pictures with a defect, rising; of more than `MAX_SCORES` an even sample;
            none in an older bundle.
        auroc: of the pictures with a defect against those without.
        smallest: extent from which half of the clear defects are found, as a share of
            `shorter_side`; None where not even half of the largest are.
        scale: mm of the part in a px of the camera's picture; None = not known.
        outlook: what all of it comes to.
        warning: what the inspector does not see, and what helps; empty if it is fine.
    """

    threshold: Float32
    images: PositiveQuantity
    shorter_side: Annotated[float, Field(gt=0, le=MAX_SIDE_OF_PICTURE)]
    cells: Annotated[tuple[DrawnCellRecord, ...], Field(min_length=1, max_length=MAX_LISTED)]
    scores: Annotated[tuple[Float32, ...], Field(max_length=MAX_SCORES)] = ()
    auroc: Share | None = None
    smallest: Annotated[float, Field(gt=0, le=1)] | None = None
    scale: Annotated[float, Field(gt=0)] | None = None
    outlook: Outlook
    warning: str = ""

    @property
    def drawn(self) -> int:
        """How many defects."""
        return sum(cell.drawn for cell in self.cells)

    @property
    def found(self) -> int:
        """How many of them."""
        return sum(cell.found for cell in self.cells)

    @property
    def smallest_px(self) -> float | None:
        """`smallest` in px of the camera's picture."""
        return None if self.smallest is None else self.smallest * self.shorter_side

    @property
    def smallest_mm(self) -> float | None:
        """`smallest` in mm of the part; None where the scale is not known."""
        if self.smallest_px is None or self.scale is None:
            return None
        return self.smallest_px * self.scale

    def to_json(self) -> dict[str, Any]:
        """What a reader wants of it, with what follows from it; the scores alone say nothing."""
        names = ("drawn", "found", "smallest_px", "smallest_mm")
        return {
            **{name: getattr(self, name) for name in names},
            **self.model_dump(mode="json", exclude={"scores"}),
        }
