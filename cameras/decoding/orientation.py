"""Turning a picture as its orientation in EXIF says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from cameras.decoding.opencv import Samples

SIDEWAYS = (5, 6, 7, 8)
"""Orientations in which rows become columns."""
_TURNS: Mapping[int, Callable[[Samples], cv2.typing.MatLike]] = MappingProxyType(
    {
        2: lambda image: cv2.flip(image, 1),
        3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
        4: lambda image: cv2.flip(image, 0),
        5: cv2.transpose,
        6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
        7: lambda image: cv2.flip(cv2.transpose(image), -1),
        8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
    }
)


def turned(image: Samples, orientation: int) -> Samples:
    """Return an image upright; another number than 1 to 8 turns nothing.

    Args:
        image: as it is stored.
        orientation: as in EXIF: where its first row and column belong.
    """
    turn = _TURNS.get(orientation)
    return image if turn is None else np.asarray(turn(image), image.dtype)
