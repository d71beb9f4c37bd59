"""Masks: which pixels are defective, and whether they can be right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.dataset.data import DatasetError
from cameras.errors import ImageError
from cameras.image_files import decode_file, samples_from_bytes
from cameras.redaction import printable_path

MaskPixels: TypeAlias = npt.NDArray[np.bool_]  # (H, W), True where defective

LOSSY = frozenset({".jfif", ".jpe", ".jpeg", ".jpg", ".webp"})


def read_masks(
    paths: Sequence[Path],
    *,
    image_size: tuple[int, int],
    size: tuple[int, int],
    roi: tuple[int, int, int, int] | None = None,
) -> MaskPixels:
    """Read the masks of an image at a model's size, cropped as the image is; nothing blended.

    A pixel is defective where one of the masks says so: in a file without loss where it is not
    zero, in a lossy one, whose black is not quite zero, where it is in the upper half of the range.

    Args:
        paths: the masks, one or several.
        image_size: (height, width) of their image as read.
        size: (height, width) of the model.
        roi: (x, y, width, height) in pixels of the image, inside it; None for all of it.

    Returns:
        (height, width) bool, True where defective; the nearest pixel of the mask.

    Raises:
        DatasetError: a mask cannot be read, or is not as large as its image.
    """
    defective = np.zeros(image_size, np.uint8)
    for path in paths:
        marked = decode_mask(path)
        if marked.shape != image_size:
            raise DatasetError(wrong_size(path, marked.shape, image_size))
        defective |= marked.view(np.uint8)
    if roi is not None:
        x, y, width, height = roi
        defective = defective[y : y + height, x : x + width]
    nearest = cv2.resize(defective, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(nearest, dtype=np.bool_)


def wrong_size(mask: Path, shape: tuple[int, ...], image_size: tuple[int, int]) -> str:
    """What is said of a mask that is not as large as its image."""
    (height, width), (rows, columns) = shape[:2], image_size
    return (
        f"{printable_path(mask)}: the mask is {width}x{height} and its image {columns}x{rows} "
        "pixels; draw the mask at the image's size"
    )


def decode_mask(path: Path) -> MaskPixels:
    """Read a mask at its own size.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        pixels = decode_file(path, samples_from_bytes)
    except ImageError as error:
        raise DatasetError(str(error)) from error
    colours = pixels.reshape(*pixels.shape[:2], -1)  # without alpha: opaque black is sound
    floor = 127 if path.suffix.lower() in LOSSY else 0  # lossy files have 8 bits
    return np.asarray(np.greater(colours, floor).any(axis=2))
