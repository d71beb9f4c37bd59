"""The part: a turned flange with a hub, a bore, six counterbored holes and a stamped number.

Lengths are in half frames: 1.0 reaches from the centre of the picture to its edge.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.float32]  # (S, S), or (S, S, 3) for colours

OUTER = 0.80
BORE = 0.25
HUB = 0.41
HOLE_CIRCLE = 0.60
HOLE = 0.066
COUNTERBORE = 0.102
HOLES = 6
PLATE_HEIGHT = 0.060
"""Of the upper face above the belt; heights are in half frames too."""

_RIM = 0.735  # outside it the face is turned down by a step
_NUMBER = "6205-2Z"
_STEEL = (0.605, 0.590, 0.575)  # BGR reflectance
_GRAIN_RINGS = 640


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What the camera could see of a part, before light falls on it; all fields are (S, S).

    Attributes:
        height: above the belt, in half frames.
        albedo: (S, S, 3) BGR reflectance, 0 to 1.
        gloss: how strongly it mirrors, 0 to about 1.
        grain: marks of turning: brightness of the mirrored light, about -1 to 1.
        solid: 1 on the part, 0 where the belt shows, between at edges.
        defect: 1 where the part is defective.
    """

    height: Field
    albedo: Field
    gloss: Field
    grain: Field
    solid: Field
    defect: Field


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where every pixel lies: `x`, `y` and `radius` in half frames, `angle` in radians."""

    x: Field
    y: Field
    radius: Field
    angle: Field


@functools.lru_cache(maxsize=4)
def grid_of(size: int) -> Grid:
    """Coordinates of a picture of `size` pixels; shared, so never written to."""
    axis = ((np.arange(size) - (size - 1) / 2) / (size / 2)).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return Grid(x, y, np.hypot(x, y), np.arctan2(y, x))


def sound_flange(rng: np.random.Generator, *, size: int) -> Surface:
    """Draw a sound flange, upright and centred; only the marks of turning differ."""
    height, solid = _shape(size)
    return Surface(
        height=height.copy(),
        albedo=np.full((size, size, 3), _STEEL, dtype=np.float32),
        gloss=np.ones((size, size), dtype=np.float32),
        grain=_grain(rng, size=size),
        solid=solid.copy(),
        defect=np.zeros((size, size), dtype=np.float32),
    )


def hole_centre(index: int) -> tuple[float, float]:
    """(x, y) of a hole in half frames."""
    angle = 2 * np.pi * index / HOLES
    return HOLE_CIRCLE * float(np.cos(angle)), HOLE_CIRCLE * float(np.sin(angle))


def distance_to(x: float, y: float, *, size: int) -> Field:
    """Distance of every pixel to a point, in half frames."""
    grid = grid_of(size)
    return as_field(np.hypot(grid.x - np.float32(x), grid.y - np.float32(y)))


def ramp(values: Field, start: float, end: float) -> Field:
    """0 up to `start`, 1 from `end` on, a straight line between; `end` may be below `start`."""
    return as_field(np.clip((values - np.float32(start)) / np.float32(end - start), 0, 1))


def as_field(values: npt.NDArray[Any]) -> Field:
    """Single precision, whatever OpenCV or a NumPy scalar made of it; no copy where it is that."""
    return np.asarray(values, dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _shape(size: int) -> tuple[Field, Field]:
    """Height and coverage, the same for every part."""
    radius = grid_of(size).radius
    pixel = 2 / size
    height = PLATE_HEIGHT * np.ones_like(radius)
    height += 0.028 * ramp(radius, HUB + 0.022, HUB)  # hub
    height -= 0.014 * ramp(radius, _RIM, _RIM + 0.010)  # turned-down rim
    height -= 0.006 * ramp(np.abs(radius - 0.475), 0.006, 0.002)  # groove round the hub
    height -= 0.020 * ramp(radius, OUTER - 0.018, OUTER)  # outer chamfer
    height -= 0.020 * ramp(radius, BORE + 0.020, BORE)  # chamfer of the bore
    solid = ramp(radius, OUTER + pixel / 2, OUTER - pixel / 2)
    solid *= ramp(radius, BORE - pixel / 2, BORE + pixel / 2)
    for index in range(HOLES):
        away = distance_to(*hole_centre(index), size=size)
        height -= 0.018 * ramp(away, COUNTERBORE, COUNTERBORE - 0.010)
        solid *= ramp(away, HOLE - pixel / 2, HOLE + pixel / 2)
    height -= 0.005 * _number(size)
    return as_field(height), solid


def _number(size: int) -> Field:
    """The stamped number, bent round the centre at the bottom of the flange, 0 to 1."""
    rows, columns = 120, 720
    strip = np.zeros((rows, columns), dtype=np.uint8)
    (width, tall), _ = cv2.getTextSize(_NUMBER, cv2.FONT_HERSHEY_SIMPLEX, 3.4, 12)
    origin = ((columns - width) // 2, (rows + tall) // 2)
    cv2.putText(strip, _NUMBER, origin, cv2.FONT_HERSHEY_SIMPLEX, 3.4, 255, 12, cv2.LINE_AA)
    grid = grid_of(size)
    tall_units = 0.100
    per_unit = rows / tall_units
    along = (np.pi / 2 - grid.angle) * HOLE_CIRCLE * per_unit + columns / 2
    across = (grid.radius - HOLE_CIRCLE + tall_units / 2) * per_unit
    drawn = cv2.remap(strip, along, across, cv2.INTER_AREA, borderValue=0)
    soft = cv2.GaussianBlur(drawn, (0, 0), size / 640)
    return as_field(soft) / np.float32(255)


def _grain(rng: np.random.Generator, *, size: int) -> Field:
    """Marks of turning: rings of chance strength, broken into arcs."""
    rings = rng.standard_normal(_GRAIN_RINGS, dtype=np.float32)
    coarse = cv2.GaussianBlur(rings[None, :], (43, 1), 7)[0]
    arcs = rng.standard_normal((256, _GRAIN_RINGS), dtype=np.float32)
    arcs = as_field(cv2.blur(np.concatenate([arcs, arcs[:32]]), (1, 33))[:256])
    field = 2.9 * arcs + 0.55 * rings + 2.2 * coarse
    grid = grid_of(size)
    column = grid.radius * np.float32(_GRAIN_RINGS / 1.5)
    row = (grid.angle + np.float32(np.pi)) * np.float32(255 / (2 * np.pi))
    drawn = cv2.remap(field, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return as_field(drawn) / np.float32(2)
