"""What is measured on a picture: brightness, glare, sharpness, and light in its parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.images import Image, Size

Grid = npt.NDArray[np.float32]  # (CELLS, CELLS)

CELLS = 8  # along each side
WHITE = 250  # grey level from which a pixel counts as burnt out
MAX_SIDE = 256  # px: a larger model's image is halved until it fits
COARSE = 4  # px of the fine picture to one of the coarse
_FAINT = 0.5  # mean gradient of the coarse picture below which there is nothing to be sharp


@dataclass(frozen=True, slots=True, eq=False)
class ImageStats:
    """Measurements of one picture, as the model sees it.

    Attributes:
        brightness: grey level, 0 to 255, that one pixel in a hundred exceeds.
        white: share of pixels that are burnt out.
        sharpness: slope of the edges at full resolution, as a share of their slope in a picture
            four times as small: 1/4 where everything is smooth, about 1 where edges are one pixel
            wide; 0 where there are none. Contrast and the number of edges cancel out.
        light: mean grey level of each cell of a grid.
        detail: mean slope in each cell, both ways together, in grey levels times eight a pixel.
    """

    brightness: float
    white: float
    sharpness: float
    light: Grid
    detail: Grid


class ImageStatsReader:
    """Measures pictures of one size; its buffers are made once, so it serves one thread.

    Args:
        size: (height, width) of the model's images.
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        height, width = size
        self._halvings: list[npt.NDArray[np.uint8]] = []
        while max(height, width) > MAX_SIDE and min(height, width) >= 2 * CELLS:
            height, width = height // 2, width // 2
            self._halvings.append(np.empty((height, width), np.uint8))
        small = (max(1, height // COARSE), max(1, width // COARSE))
        self._grey = np.empty(size, np.uint8)
        self._coarse = np.empty(small, np.uint8)
        self._fine_slopes = _Slopes((height, width))
        self._coarse_slopes = _Slopes(small)

    def read(self, fitted: Image) -> ImageStats:
        """Measure a picture.

        Args:
            fitted: (h, w, 3) uint8 BGR of this reader's size.
        """
        grey = cv2.cvtColor(fitted, cv2.COLOR_BGR2GRAY, dst=self._grey)
        for half in self._halvings:
            grey = cv2.resize(grey, half.shape[::-1], dst=half, interpolation=cv2.INTER_LINEAR)
        return self.read_grey(np.asarray(grey, np.uint8))

    def read_grey(self, grey: npt.NDArray[np.uint8]) -> ImageStats:
        """Measure a picture that `reduce` gave, or what was made of one."""
        shares = np.cumsum(cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()) / grey.size
        small = self._coarse.shape[::-1]
        cv2.resize(grey, small, dst=self._coarse, interpolation=cv2.INTER_AREA)
        energy = self._fine_slopes.measure(grey)
        below = self._coarse_slopes.measure(self._coarse)
        return ImageStats(
            brightness=float(np.searchsorted(shares, 0.99)),
            white=float(1 - shares[WHITE - 1]),
            sharpness=energy / below if below >= _FAINT else 0.0,
            light=_average_cells(self._coarse),
            detail=_average_cells(self._fine_slopes.map_slopes()),
        )

    def reduce(self, fitted: Image) -> npt.NDArray[np.uint8]:
        """The grey picture that is measured, as a copy."""
        self.read(fitted)
        return (self._halvings[-1] if self._halvings else self._grey).copy()


class _Slopes:
    """Lengths of the gradients of pictures of one shape."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._x, self._y = (np.empty(shape, np.int16) for _ in range(2))
        self._steep, self._both = (np.empty(shape, np.uint8) for _ in range(2))
        self._root = math.sqrt(shape[0] * shape[1])

    def measure(self, grey: npt.NDArray[np.uint8]) -> float:
        """Root of the mean square of a picture's slopes."""
        cv2.spatialGradient(grey, self._x, self._y)
        along, across = cv2.norm(self._x, cv2.NORM_L2), cv2.norm(self._y, cv2.NORM_L2)
        return math.hypot(along, across) / self._root

    def map_slopes(self) -> npt.NDArray[np.uint8]:
        """Each pixel's slope in the last picture, both ways together; valid until the next one."""
        cv2.convertScaleAbs(self._x, dst=self._both)
        cv2.convertScaleAbs(self._y, dst=self._steep)
        return np.asarray(cv2.add(self._both, self._steep, dst=self._both), np.uint8)


def _average_cells(picture: npt.NDArray[np.uint8]) -> Grid:
    """Mean of each cell."""
    found = cv2.resize(picture, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(found, np.float32)
