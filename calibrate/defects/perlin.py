"""Perlin noise: the shapes of simulated anomalies.

Source: K. Perlin, "Improving Noise" (SIGGRAPH 2002): a random gradient at each corner of a grid,
its dot product with the way to the corner, blended by 6t^5 - 15t^4 + 10t^3. Written as a blend
along the columns of a blend along the rows, which costs four gathers a picture.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

NoiseField = npt.NDArray[np.float32]

OCTAVES = 6  # cells along an axis: 1, 2, 4, ..., 32
LEVEL = 0.5  # of noise within about -1 to 1: DRAEM's threshold (arXiv 2108.07610)


def perlin_noise(
    shape: tuple[int, int], *, cells: tuple[float, float], rng: np.random.Generator
) -> NoiseField:
    """One field of noise, about -1 to 1, 0 at the corners of the grid.

    Args:
        shape: (height, width) in px.
        cells: of the grid, along the height and along the width; need not be whole.
        rng: decides the gradients.

    Returns:
        `shape`, float32. No matrix product takes part, so the number of threads changes nothing.
    """
    (row, rows_to, rows_blend), (column, columns_to, columns_blend) = (
        _axis(length, count) for length, count in zip(shape, cells, strict=True)
    )
    corners = (int(row[-1]) + 2, int(column[-1]) + 2)
    angle = rng.uniform(0, 2 * np.pi, corners).astype(np.float32)
    down, across = np.sin(angle), np.cos(angle)
    above, below = (1 - rows_blend)[:, None], rows_blend[:, None]
    # Blend along the rows first: (height, corners of the grid), so the pictures are few.
    offset = above * rows_to[:, None] * down[row] + below * (rows_to - 1)[:, None] * down[row + 1]
    slope = above * across[row] + below * across[row + 1]
    left = offset[:, column] + columns_to * slope[:, column]
    right = offset[:, column + 1] + (columns_to - 1) * slope[:, column + 1]
    noise = left + columns_blend * (right - left)
    return np.asarray(noise * np.float32(np.sqrt(2)), dtype=np.float32)


def anomaly_noise(shape: tuple[int, int], *, rng: np.random.Generator) -> NoiseField:
    """Noise of a random grain in each direction, turned: from specks and streaks to large blobs.

    Returns:
        `shape`, float32; what exceeds `LEVEL` is the anomaly, as in DRAEM.
    """
    rows, columns = 2.0 ** rng.integers(0, OCTAVES, 2)
    noise = perlin_noise(shape, cells=(rows, columns), rng=rng)
    turn = float(rng.uniform(-90, 90))
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, turn, 1.0)
    turned = cv2.warpAffine(
        noise, matrix, shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(turned, dtype=np.float32)


def _axis(length: int, cells: float) -> tuple[npt.NDArray[np.intp], NoiseField, NoiseField]:
    """Of each pixel's centre: its cell, how far into it (0 to 1), and the blend there."""
    at = (np.arange(length) + 0.5) * (cells / length)
    cell = np.floor(at).astype(np.intp)
    into = (at - cell).astype(np.float32)
    return cell, into, into**3 * (into * (into * 6 - 15) + 10)
