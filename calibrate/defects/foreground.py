"""Where the part is: a foreground estimate from one image, and the whole image for a surface.

An anomaly that is drawn onto the conveyor teaches nothing. The background is what a smooth
surface, fitted to the colours along the image's border, explains; the part is the rest, its holes
filled. Where the border is as varied as the inside, nothing is in front of anything: a surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.images import Image

Mask = npt.NDArray[np.bool_]  # (H, W)
Scene = Literal["object", "texture", "auto"]

_SIDE = 128  # px at which the estimate is made
_BAND = 4  # px of that along each edge: taken for background
_TERMS = (3, 6, 6)  # of each fit: level and slopes, then bends; each leaves out what stands out
_QUIET = 75  # percentile of the border's distances that counts as its noise: a part may reach it
_MARGIN = 3.0  # times the noise is still background
_CLEAR = 5.0  # times the noise must lie below Otsu's threshold, or there is no part
_FLOOR = 8.0  # least distance, in units of 8-bit CIELAB, at which anything stands out
_SMALLEST, _LARGEST = 0.03, 0.97  # of the image


def foreground_from_image(image: Image) -> Mask:
    """Estimate which pixels show the part.

    Args:
        image: (H, W, 3) uint8 BGR.

    Returns:
        (H, W) bool; all True where no part stands out from the border: a texture, or an estimate
        that cannot be relied on.
    """
    distance = _distance_from_background(image)
    noise = float(np.percentile(distance[_band()], _QUIET))
    levels = np.clip(distance, 0, 255).astype(np.uint8)
    otsu, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    if otsu < max(_CLEAR * noise, _FLOOR):
        return np.ones(image.shape[:2], dtype=np.bool_)
    part = _fill(distance > min(otsu, max(_MARGIN * noise, _FLOOR)))
    if not _SMALLEST <= float(part.mean()) <= _LARGEST:
        return np.ones(image.shape[:2], dtype=np.bool_)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) > 0.5)


def scene_from_images(images: Sequence[Image]) -> Scene:
    """Tell parts before a background from surfaces that fill the image, by most of the images.

    Args:
        images: some good images, (H, W, 3) uint8 BGR; a dozen are enough.

    Raises:
        ValueError: there are none.
    """
    if not images:
        raise ValueError("no images to tell a part from a surface by; give some good ones")
    found = sum(not foreground_from_image(image).all() for image in images)
    return "object" if 2 * found > len(images) else "texture"


def _distance_from_background(image: Image) -> npt.NDArray[np.float32]:
    """(_SIDE, _SIDE) distance of each colour from the background fitted to the border."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    # In float64, rounded in the end: the order of sums, which depends on threads, cancels out.
    colours = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).reshape(-1, 3).astype(np.float64)
    border = np.flatnonzero(_band())
    # The median withstands a part on the border; a fit to all of the border would not.
    distance = np.linalg.norm(colours - np.median(colours[border], axis=0), axis=1)
    for count in _TERMS:
        nearby = distance[border]
        used = border[nearby <= max(_FLOOR, 2 * float(np.median(nearby)))]
        terms = _terms()[:, :count]
        fitted, *_ = np.linalg.lstsq(terms[used], colours[used], rcond=None)
        distance = np.linalg.norm(colours - terms @ fitted, axis=1)
    return np.asarray(distance, dtype=np.float32).reshape(_SIDE, _SIDE)


@cache
def _band() -> Mask:
    band = np.ones((_SIDE, _SIDE), dtype=np.bool_)
    band[_BAND:-_BAND, _BAND:-_BAND] = False
    return band


@cache
def _terms() -> npt.NDArray[np.float64]:
    """(_SIDE², 6): what a background may be made of: a level, two slopes and three bends."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j].reshape(2, -1)
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)


def _fill(part: Mask) -> npt.NDArray[np.float32]:
    """Without specks, gaps closed, holes filled; 0 or 1."""
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    solid = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, ellipse)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [line for line in outlines if cv2.contourArea(line) > 0.005 * _SIDE**2]
    filled = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    cv2.drawContours(filled, large, -1, 1.0, thickness=cv2.FILLED)
    return filled
