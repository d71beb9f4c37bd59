"""Extended anomalies: a defect that was seen, changed and pasted somewhere else.

Source: PRN (arXiv 2212.02031), section on anomaly generation: crop a seen anomaly, apply three
random changes to it and its mask, paste it onto a good image.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.defects.foreground import Mask
from calibrate.defects.real import RealDefect
from calibrate.defects.textures import (
    ToneChange,
    ToneCurve,
    apply_tone,
    brightness,
    cast,
    contrast,
    gamma,
)
from calibrate.images import Image

Matrix = npt.NDArray[np.float64]  # (2, 2): from the defect's place to the pasted one
Geometry = Callable[[np.random.Generator], Matrix]

_CHANGES = 3  # of the ten below, each time
_TRIES = 8  # places, until enough of the defect lies on the part
_KEPT = 0.5  # of its area
_FEATHER = 1.0  # px (standard deviation) over which its edge fades, inwards


def paste_defect(
    image: Image, defect: RealDefect, *, foreground: Mask, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """Paste a changed copy of a real defect onto the part.

    Args:
        image: a good one, (H, W, 3) uint8 BGR.
        defect: of the same height and width.
        foreground: (H, W) bool, where the part is; somewhere it is.
        rng: decides the changes and the place.

    Returns:
        The image with the defect, and where it is: within the foreground; if it does not fit
        there in several tries, in the place and the shape in which it was seen.
    """
    chosen = rng.choice(len(_GEOMETRY) + len(_TONES) + 1, _CHANGES, replace=False)
    matrix, pixels = np.eye(2), defect.image
    table: ToneCurve = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[:, None], 3, axis=1)
    for index in chosen:
        if index < len(_GEOMETRY):
            matrix = _GEOMETRY[index](rng) @ matrix
        elif index < len(_GEOMETRY) + len(_TONES):
            table = np.clip(_TONES[index - len(_GEOMETRY)](table, rng), 0, 1)
        else:
            width = float(rng.uniform(0.4, 1.2))
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), width), dtype=np.uint8)
    places = np.flatnonzero(foreground)
    for _ in range(_TRIES):
        y, x = divmod(int(places[rng.integers(len(places))]), image.shape[1])
        moved = _move(pixels, defect.mask, matrix=matrix, to=(x, y))
        mask = moved[1] & foreground
        if mask.any() and np.count_nonzero(mask) >= _KEPT * np.count_nonzero(moved[1]):
            return _paste(image, apply_tone(moved[0], table), mask), mask
    return _paste(image, apply_tone(pixels, table), defect.mask), defect.mask.copy()


def _move(pixels: Image, mask: Mask, *, matrix: Matrix, to: tuple[int, int]) -> tuple[Image, Mask]:
    """The defect and its mask, the centre of its box at `to` (x, y)."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    centre = np.array([x + (width - 1) / 2, y + (height - 1) / 2])
    move = np.column_stack([matrix, np.array(to) - matrix @ centre])
    size = (mask.shape[1], mask.shape[0])
    # Beyond the border of its image the defect is mirrored; its mask ends there.
    there = cv2.warpAffine(
        pixels, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    level = cv2.warpAffine(mask.view(np.uint8) * np.uint8(255), move, size, flags=cv2.INTER_LINEAR)
    return np.asarray(there, dtype=np.uint8), np.asarray(level) > 127


def _paste(image: Image, pixels: Image, mask: Mask) -> Image:
    """`pixels` where `mask`, its edge fading inwards: nothing outside the mask changes."""
    weight = mask.astype(np.float32)
    # The blurred mask is about a half at the edge; twice what exceeds that starts from nothing.
    soft = np.asarray(cv2.GaussianBlur(weight, (0, 0), _FEATHER))
    weight *= np.clip(2 * soft - np.float32(0.6), 0.3, 1)
    blended = image + weight[:, :, None] * (pixels.astype(np.float32) - image)
    return np.rint(blended).astype(np.uint8)


def _mirror(rng: np.random.Generator) -> Matrix:
    """Left and right, or top and bottom, or both, exchanged."""
    sides = [(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]
    return np.diag(sides[int(rng.integers(3))])


def _turn(rng: np.random.Generator) -> Matrix:
    """By any angle."""
    angle = float(rng.uniform(0, 2 * np.pi))
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _scale(rng: np.random.Generator) -> Matrix:
    """Smaller or larger."""
    return np.eye(2) * float(np.exp(rng.uniform(np.log(0.6), np.log(1.6))))


def _stretch(rng: np.random.Generator) -> Matrix:
    """Longer one way, shorter the other."""
    ratio = float(np.exp(rng.uniform(-0.35, 0.35)))
    return np.diag([ratio, 1 / ratio])


def _shear(rng: np.random.Generator) -> Matrix:
    """Slanted, one way or the other."""
    slant = float(rng.uniform(-0.4, 0.4))
    return np.array(
        [[1.0, slant], [0.0, 1.0]] if rng.random() < 0.5 else [[1.0, 0.0], [slant, 1.0]]
    )


_GEOMETRY: tuple[Geometry, ...] = (_mirror, _turn, _scale, _stretch, _shear)
_TONES: tuple[ToneChange, ...] = (brightness, contrast, gamma, cast)
