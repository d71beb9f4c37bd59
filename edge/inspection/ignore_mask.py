"""An ignore mask: white where nothing counts, of the picture's size or the region's, two values.

A mask of another size is refused, not stretched: what it would cover is nobody's intention. So is
one with values between black and white: it may be a photograph, or a mask that a JPEG has blurred.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from cameras.image_files import image_from_file
from cameras.redaction import printable_path
from edge.result import Image, Roi

IgnoreMask: TypeAlias = npt.NDArray[np.uint8]  # (h, w), 255 = ignore, 0 = counts
Nothing: TypeAlias = Literal["none"]
NOTHING: Nothing = "none"
"""In place of a mask or a region of interest: there is none."""
WHITE = 255
MIN_COUNTED = 0.01  # of the map's cells; less is no inspection
MUCH_IGNORED = 0.5  # of the map's cells, from which it is told


def mask_from_file(path: Path) -> IgnoreMask | Nothing:
    """Read an ignore mask; the word ``none`` stands for none.

    Raises:
        ImageError: it is missing, or no image.
        ValueError: it has more than two values.
    """
    if str(path) == NOTHING:
        return NOTHING
    try:
        return two_valued(grey_mask(image_from_file(path, bit_depth=16)))
    except ValueError as error:
        raise ValueError(f"{printable_path(path)}: {error}") from error


def grey_mask(image: Image) -> IgnoreMask:
    """(h, w) of a mask that was read as (h, w, 3)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def two_valued(mask: IgnoreMask) -> IgnoreMask:
    """The mask with 255 for the brighter of its values and 0 for the other.

    Raises:
        ValueError: it is not a grey picture, or has more than two values.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(
            f"ignore mask of shape {mask.shape} {mask.dtype}: must be a grey picture, (H, W) uint8"
        )
    darkest, brightest = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if darkest == brightest:
        return np.full(mask.shape, WHITE if brightest > WHITE // 2 else 0, np.uint8)
    if not ((mask == darkest) | (mask == brightest)).all():
        raise ValueError(
            f"the ignore mask has {len(np.unique(mask))} values and must be of two: black counts, "
            "white is ignored; save it as PNG, without smooth edges"
        )
    return np.where(mask == brightest, np.uint8(WHITE), np.uint8(0))


def find_misfit(ignore: IgnoreMask, *, roi: Roi | None, frame_shape: Sequence[int]) -> str:
    """Say why a mask does not lie on a frame; empty if it has its size, or that of the region."""
    if ignore.shape in (tuple(frame_shape[:2]), _shape_of(roi)):
        return ""
    region = f", the region of interest {roi[2]}x{roi[3]} px" if roi else ""
    return (
        f"the ignore mask has {_text(ignore.shape)}, the picture {_text(frame_shape)}{region}: "
        "give a mask of one of these sizes"
    )


def counted_cells(
    ignore: IgnoreMask, *, map_shape: tuple[int, ...], roi: Roi | None
) -> npt.NDArray[np.bool_]:
    """Return where a map counts: the mask, cropped and resized without inventing grey, is black.

    Args:
        ignore: of the frame's size, or of the region's.
        map_shape: (h, w) of the map, which covers `roi`.
        roi: (x, y, width, height) in px of the frame; None = all of it.
    """
    if roi is not None and ignore.shape != _shape_of(roi):
        x, y, width, height = roi
        ignore = ignore[y : y + height, x : x + width]
    # In whole numbers: cv2.resize takes the cell before where its quotient falls just short of one.
    rows, columns = (
        np.arange(cells) * side // cells
        for cells, side in zip(map_shape, ignore.shape, strict=True)
    )
    return np.asarray(ignore[rows][:, columns] == 0)


def check_mask(
    ignore: IgnoreMask,
    *,
    roi: Roi | None,
    map_shape: tuple[int, int],
    sizes: Sequence[Sequence[int]],
) -> None:
    """See that a mask lies on the pictures that were learnt, and leaves something to inspect.

    Args:
        ignore: of two values.
        roi: the part that is inspected.
        map_shape: (h, w) of the model's map.
        sizes: (height, width) of the pictures that were learnt; none where they had very many.

    Raises:
        ValueError: it does not.
    """
    if not ignore.any():
        raise ValueError(
            "the ignore mask has nothing white in it, so nothing would be ignored; give none to "
            "have no mask"
        )
    allowed = [tuple(size) for size in sizes] or [ignore.shape]
    fits = ignore.shape == _shape_of(roi) or ignore.shape in allowed
    beyond = roi is not None and (
        roi[1] + roi[3] > ignore.shape[0] or roi[0] + roi[2] > ignore.shape[1]
    )
    if not fits or (beyond and ignore.shape != _shape_of(roi)):
        pictures = ", ".join(map(_text, sizes)) or "an unknown size"
        region = f", the region of interest {roi[2]}x{roi[3]} px" if roi else ""
        raise ValueError(
            f"the ignore mask has {_text(ignore.shape)}, the pictures that were learnt "
            f"{pictures}{region}: give a mask of one of these sizes; for a camera of another size "
            "give roi, be it all of its picture, and a mask of that"
        )
    share = float(counted_cells(ignore, map_shape=map_shape, roi=roi).mean())
    if share < MIN_COUNTED:
        raise ValueError(
            f"the ignore mask leaves nothing to inspect, {share:.2%} of the picture: black counts, "
            "white is ignored; is it the wrong way round?"
        )


def describe_much_ignored(
    ignore: IgnoreMask | None, *, roi: Roi | None, map_shape: tuple[int, int]
) -> str:
    """Say that a mask takes out most of what is inspected; empty if it does not."""
    if ignore is None:
        return ""
    share = 1.0 - float(counted_cells(ignore, map_shape=map_shape, roi=roi).mean())
    if share <= MUCH_IGNORED:
        return ""
    return f"the ignore mask takes out {share:.0%} of what is inspected: white is ignored"


def _shape_of(roi: Roi | None) -> tuple[int, int] | None:
    return None if roi is None else (roi[3], roi[2])


def _text(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]} px"
