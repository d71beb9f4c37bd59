"""Outlines of drawn defects: irregular blobs and scratches of a given extent, with soft edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Outline: TypeAlias = Literal["blob", "scratch"]
Opacity: TypeAlias = npt.NDArray[np.float32]  # (h, w), 0 to 1

_POINTS = 72  # of an outline
_BENDS = 5  # waves around a blob, at most
_ROUGH = 0.5  # of the radius (standard deviation) by which a wave bends it, over its number
_FLATTEST = 0.4  # height of a blob as a share of its width, before it is turned
_THIN = 12  # extents of a scratch go into its thickness so often
_FADES = (0.1, 0.6)  # of its half thickness over which a defect's edge fades, inwards
_FINE = 4  # bits behind the point of coordinates


def draw_shape(shape: Outline, side: int, *, rng: np.random.Generator) -> Opacity:
    """Draw an outline and fill it, fading inwards from its edge.

    Args:
        shape: a blob, or a scratch, which is a twelfth as wide as it is long.
        side: extent in px: the longer side of its box; at least 1.
        rng: decides the outline.

    Returns:
        (h, w) how much of the defect covers each pixel; 0 outside, above 0 inside. The longer of
        h and w is `side`, and each of its edges touches the defect.
    """
    inside = _SHAPES[shape](side, rng)
    x, y, width, height = cv2.boundingRect(inside)
    inside = np.pad(inside[y : y + height, x : x + width], 1)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    fade = max(1.0, float(rng.uniform(*_FADES)) * float(depth.max()))
    return np.asarray(np.minimum(depth[1:-1, 1:-1] / fade, 1), dtype=np.float32)


def _draw_blob(side: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    angle = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    radius = np.ones(_POINTS)
    for wave in range(2, _BENDS + 1):
        bend = float(rng.normal(0, _ROUGH / wave))
        radius += bend * np.cos(wave * angle + float(rng.uniform(0, 2 * np.pi)))
    radius = np.maximum(radius, 0.2)
    flat = float(rng.uniform(_FLATTEST, 1))
    outline = np.stack([radius * np.cos(angle), flat * radius * np.sin(angle)], axis=1)
    canvas = np.zeros((side, side), np.uint8)
    points = _stretch(_turn(outline, rng), side - 1)
    cv2.fillPoly(canvas, [_fixed(points)], 1, lineType=cv2.LINE_8, shift=_FINE)
    return canvas


def _draw_scratch(side: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    along = np.linspace(-1, 1, _POINTS)
    bend, curl = rng.normal(0, (0.25, 0.1))
    line = np.stack([along, bend * along**2 + curl * np.sin(np.pi * along)], axis=1)
    thickness = max(1, round(side / _THIN))
    canvas = np.zeros((side, side), np.uint8)
    points = _stretch(_turn(line, rng), side - thickness) + (thickness - 1) / 2
    cv2.polylines(canvas, [_fixed(points)], False, 1, thickness, cv2.LINE_8, _FINE)
    return canvas


def _turn(points: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    angle = float(rng.uniform(0, 2 * np.pi))
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]))


def _stretch(points: npt.NDArray[np.float64], extent: float) -> npt.NDArray[np.float64]:
    """Moved to begin at 0 and scaled so that the longer side of their box is `extent`."""
    points = points - points.min(axis=0)
    return np.asarray(points * (extent / points.max()))


def _fixed(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    return np.asarray(np.rint(points * 2**_FINE), dtype=np.int32)


_SHAPES: dict[Outline, Callable[[int, np.random.Generator], npt.NDArray[np.uint8]]] = {
    "blob": _draw_blob,
    "scratch": _draw_scratch,
}
