"""The part: a turned flange with a hub, a bore, six counterbored holes and a stamped number.

Lengths are in half frames: 1.0 reaches from the centre of the picture to its edge.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[Any]  # float32, (SIZE, SIZE), or (SIZE, SIZE, 3) for colours

SIZE = 480
"""Pixels along each edge of the camera's picture."""
OUTER = 0.80
BORE = 0.25
HUB = 0.41
HOLE_CIRCLE = 0.60
HOLE = 0.066
COUNTERBORE = 0.102
HOLES = 6
PLATE_HEIGHT = 0.060
"""Of the upper face above the belt; heights are in half frames too."""

_PIXEL = 2 / SIZE
_RIM = 0.735  # outside it the face is turned down by a step
_STEPS = (  # of the height along the radius: how much, from where, to where
    (0.028, HUB + 0.022, HUB),
    (-0.014, _RIM, _RIM + 0.010),
    (-0.020, OUTER - 0.018, OUTER),  # chamfers
    (-0.020, BORE + 0.020, BORE),
)
_NUMBER = "6205-2Z"
_STEEL = (0.605, 0.590, 0.575)  # BGR reflectance
_GRAIN_RINGS = 640


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What the camera could see of a part, before light falls on it.

    Attributes:
        height: above the belt, in half frames.
        albedo: BGR reflectance, 0 to 1.
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


class Coordinates(NamedTuple):
    """Where every pixel lies: `x`, `y` and `radius` in half frames, `angle` in radians."""

    x: Field
    y: Field
    radius: Field
    angle: Field


@functools.cache
def coordinates() -> Coordinates:
    """Coordinates of the picture; shared, so never written to."""
    axis = ((np.arange(SIZE) - (SIZE - 1) / 2) / (SIZE / 2)).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return Coordinates(x, y, np.hypot(x, y), np.arctan2(y, x))


def make_flange(rng: np.random.Generator) -> Surface:
    """Make a sound flange, upright and centred; only the marks of turning differ."""
    height, solid = _shape()
    return Surface(
        height=height.copy(),
        albedo=np.full((SIZE, SIZE, 3), _STEEL, dtype=np.float32),
        gloss=np.ones_like(height),
        grain=_turn(rng),
        solid=solid.copy(),
        defect=np.zeros_like(height),
    )


def hole_centre(index: int) -> tuple[float, float]:
    """(x, y) of a hole in half frames."""
    angle = 2 * np.pi * index / HOLES
    return HOLE_CIRCLE * float(np.cos(angle)), HOLE_CIRCLE * float(np.sin(angle))


def distance_to(x: float, y: float) -> Field:
    """Distance of every pixel to a point, in half frames."""
    return np.hypot(coordinates().x - np.float32(x), coordinates().y - np.float32(y))


def ramp(values: Field, start: float, end: float) -> Field:
    """0 up to `start`, 1 from `end` on, a straight line between; `end` may be below `start`."""
    share: Field = (values - np.float32(start)) / np.float32(end - start)
    return np.clip(share, 0, 1)


@functools.cache
def _shape() -> tuple[Field, Field]:
    """Height and coverage, the same for every part."""
    radius = coordinates().radius
    height = PLATE_HEIGHT * np.ones_like(radius)
    for step, start, end in _STEPS[:2]:
        height += step * ramp(radius, start, end)
    height -= 0.006 * ramp(np.abs(radius - 0.475), 0.006, 0.002)  # groove round the hub
    for step, start, end in _STEPS[2:]:
        height += step * ramp(radius, start, end)
    solid = ramp(radius, OUTER + _PIXEL / 2, OUTER - _PIXEL / 2)
    solid *= ramp(radius, BORE - _PIXEL / 2, BORE + _PIXEL / 2)
    for index in range(HOLES):
        away = distance_to(*hole_centre(index))
        height -= 0.018 * ramp(away, COUNTERBORE, COUNTERBORE - 0.010)
        solid *= ramp(away, HOLE - _PIXEL / 2, HOLE + _PIXEL / 2)
    height -= 0.005 * _stamp()
    return height, solid


def _stamp() -> Field:
    """The stamped number, bent round the centre at the bottom of the flange, 0 to 1."""
    rows, columns, tall = 120, 720, 0.100
    strip = np.zeros((rows, columns), dtype=np.uint8)
    face, scale, thick = cv2.FONT_HERSHEY_SIMPLEX, 3.4, 12
    (width, height), _ = cv2.getTextSize(_NUMBER, face, scale, thick)
    origin = ((columns - width) // 2, (rows + height) // 2)
    cv2.putText(strip, _NUMBER, origin, face, scale, 255, thick, cv2.LINE_AA)
    along = (np.pi / 2 - coordinates().angle) * HOLE_CIRCLE * (rows / tall) + columns / 2
    across = (coordinates().radius - HOLE_CIRCLE + tall / 2) * (rows / tall)
    drawn = cv2.remap(strip, along, across, cv2.INTER_AREA, borderValue=0)
    soft = cv2.GaussianBlur(drawn, (0, 0), SIZE / 640)
    return soft.astype(np.float32) / np.float32(255)


def _turn(rng: np.random.Generator) -> Field:
    """Marks of turning: rings of chance strength, broken into arcs."""
    rings = rng.standard_normal(_GRAIN_RINGS, dtype=np.float32)
    coarse = cv2.GaussianBlur(rings[None, :], (43, 1), 7)[0]
    arcs: Field = rng.standard_normal((256, _GRAIN_RINGS), dtype=np.float32)
    arcs = cv2.blur(np.concatenate([arcs, arcs[:32]]), (1, 33))[:256]
    marks = 2.9 * arcs + 0.55 * rings + 2.2 * coarse
    column = coordinates().radius * np.float32(_GRAIN_RINGS / 1.5)
    row = (coordinates().angle + np.float32(np.pi)) * np.float32(255 / (2 * np.pi))
    drawn = cv2.remap(marks, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return drawn / np.float32(2)
