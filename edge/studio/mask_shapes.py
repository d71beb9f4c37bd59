"""An ignore mask from what somebody has drawn: polygons and strokes of a brush."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge.inspection.ignore_mask import WHITE, IgnoreMask
from edge.result import Roi

MAX_SIDE = 16_384  # px of a frame
MAX_PIXELS = 50_000_000
MAX_SHAPES, MAX_POINTS = 1_000, 5_000
_Place = Annotated[int, Field(ge=-MAX_SIDE, le=2 * MAX_SIDE)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class MaskShape(BaseModel):
    """A polygon, filled, or a stroke of a round brush.

    Attributes:
        kind: which of them.
        erases: whether it takes away from the mask.
        radius: of the brush, in px.
        points: (x, y) in px of the frame; outside of it nothing is drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["polygon", "brush"]
    erases: bool = False
    radius: Annotated[int, Field(ge=1, le=1_000)] = 1
    points: Annotated[tuple[tuple[_Place, _Place], ...], Field(min_length=1, max_length=MAX_POINTS)]


def draw_mask(
    base: IgnoreMask | None, shapes: Sequence[MaskShape], *, size: tuple[int, int]
) -> IgnoreMask:
    """Draw shapes into a mask, one after the other.

    Args:
        base: (h, w) that they are drawn into; None is an empty one. It is not changed.
        shapes: in their order.
        size: (h, w) of the frame.

    Returns:
        (h, w) uint8, white where nothing counts.
    """
    mask = np.zeros(size, np.uint8) if base is None else base.copy()
    for shape in shapes:
        points = np.array(shape.points, np.int32).reshape(-1, 1, 2)
        level = 0 if shape.erases else WHITE
        if shape.kind == "polygon":
            cv2.fillPoly(mask, [points], level)
            continue
        cv2.polylines(mask, [points], False, level, thickness=2 * shape.radius)
        for (place,) in points.tolist():  # the ends and bends are round
            cv2.circle(mask, place, shape.radius, level, cv2.FILLED)
    return mask


def mask_on_frame(mask: IgnoreMask, *, roi: Roi | None, size: tuple[int, int]) -> IgnoreMask | None:
    """A mask of the frame's size or the region's as one of the frame's; None if it does not lie.

    Args:
        mask: (h, w).
        roi: (x, y, width, height) in px of the frame.
        size: (h, w) of the frame.
    """
    if mask.shape == size:
        return mask
    if roi is None or mask.shape != (roi[3], roi[2]):
        return None
    x, y, width, height = roi
    if y + height > size[0] or x + width > size[1]:
        return None
    whole = np.zeros(size, np.uint8)
    whole[y : y + height, x : x + width] = mask
    return whole
