"""A picture of what is inspected: the region of interest, and what an ignore mask leaves out."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge.drawing.overlay import hatch
from edge.drawing.palette import TRUTH
from edge.result import Image, Roi

MAX_SIDE = 900  # px of the picture
_OUTSIDE = 0.35  # of the light that is left outside the region


def draw_inspected_part(
    image: Image, *, roi: Roi | None, ignored: npt.NDArray[np.bool_] | None
) -> Image:
    """Return a picture in which all that is not inspected is dark or hatched.

    Args:
        image: (H, W, 3) uint8 BGR, as it comes from the camera.
        roi: (x, y, width, height) in its pixels; None is all of it.
        ignored: (h, w) bool that covers `roi`, True where nothing counts; None without a mask.

    Returns:
        (h, w, 3) uint8 BGR, no side longer than `MAX_SIDE`.
    """
    scale = min(1.0, MAX_SIDE / max(image.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    picture = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    x, y, width, height = (
        (round(value * scale) for value in roi) if roi is not None else (0, 0, *size)
    )
    inside = picture[y : y + height, x : x + width].copy()
    stroke = max(1, round(max(picture.shape) / 400))
    if ignored is not None and inside.size:
        hatch(inside, ignored, step=10 * stroke, stroke=stroke)
    if roi is not None:
        picture = np.asarray(picture * _OUTSIDE, np.uint8)
        picture[y : y + height, x : x + width] = inside
        cv2.rectangle(picture, (x, y), (x + width - 1, y + height - 1), TRUTH, stroke)
        return picture
    return inside
