"""What is inspected of a good picture, as defects are drawn into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibrate.defects.draw import MIN_SIDE
from calibrate.images import Image, Roi, Size, fit_image
from cameras.image_files import image_from_file

MAX_TIMES = 4  # the model's size that a picture has when it is drawn into


def inspected_from_file(
    path: Path, *, size: Size, roi: Roi | None
) -> tuple[Image, tuple[int, int]] | None:
    """The inspected part of a picture, and its (height, width) in px of the camera.

    A picture that the model's size goes into four times and more is halved, as `fit_image` would:
    the defects are then drawn at twice the model's size at least, and in little time.

    Args:
        path: of the picture.
        size: (height, width) of the model.
        roi: the part that is inspected; None = all of it.

    Returns:
        None where it is too small to draw into.

    Raises:
        ImageError: it cannot be read.
    """
    image = image_from_file(path)
    if roi is not None:
        x, y, width, height = roi
        image = np.ascontiguousarray(image[y : y + height, x : x + width])
    shape = image.shape[0], image.shape[1]
    if min(shape) < MIN_SIDE:
        return None
    while all(long >= MAX_TIMES * short for long, short in zip(image.shape[:2], size, strict=True)):
        image = fit_image(image, (image.shape[0] // 2, image.shape[1] // 2))
    return image, shape
