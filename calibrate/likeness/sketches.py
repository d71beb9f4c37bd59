"""What is kept of an image to compare it with others: a small grey picture."""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.images import Image

Sketch: TypeAlias = npt.NDArray[np.uint8]  # (h, w) grey
GreyPicture: TypeAlias = npt.NDArray[np.float32]  # (h, w)

AREA = 160 * 160  # px of a sketch: 128 MB for 5 000 images
MIN_SIDE = 32  # px
BORDER = 3  # px that a shift uncovers, and what is not compared


def sketch_of(image: Image) -> Sketch:
    """The sketch of an image that is fitted to the model's size, (H, W, 3)."""
    height, width = image.shape[:2]
    scale = math.sqrt(AREA / (height * width))
    size = max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def smooth(picture: GreyPicture, sigma: float) -> GreyPicture:
    """A Gaussian average."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def inside(picture: GreyPicture) -> GreyPicture:
    """Without the border."""
    return picture[BORDER:-BORDER, BORDER:-BORDER]


def slopes(picture: GreyPicture) -> tuple[GreyPicture, GreyPicture]:
    """How it rises to the right and downward, by the px."""
    down, right = np.gradient(picture)
    return np.asarray(right, np.float32), np.asarray(down, np.float32)
