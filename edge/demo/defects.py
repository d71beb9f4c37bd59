"""Six kinds of defect, each drawn into a surface together with its exact mask."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np

from edge.demo.flange import (
    BORE,
    COUNTERBORE,
    HOLE,
    HOLES,
    HUB,
    OUTER,
    PLATE_HEIGHT,
    SIZE,
    Field,
    Surface,
    coordinates,
    distance_to,
    hole_centre,
    ramp,
)

_SHIFT = 4  # OpenCV draws at 1/16 pixel
_TRIES = 20

Points = list[tuple[float, float]]


def add_scratch(surface: Surface, rng: np.random.Generator) -> Surface:
    """A tool slipped: one to three bright lines across the marks of turning."""
    drawn = np.zeros_like(surface.solid)
    for _ in range(_TRIES):
        drawn[:] = 0
        x, y = _spot(rng, inner=0.30, outer=0.72)
        heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.20, 0.55)
        for line in range(int(rng.integers(1, 4))):
            points = _stroke((x + 0.02 * line, y), heading=heading, length=length, rng=rng)
            np.maximum(drawn, _line(points, width=rng.uniform(1.0, 2.0)), out=drawn)
        if (drawn * surface.solid).sum() > 0.85 * drawn.sum():
            break
    drawn *= surface.solid
    strength = rng.uniform(0.5, 1.0)
    return replace(
        surface,
        height=surface.height - 0.004 * drawn,
        albedo=surface.albedo * (1 + strength * drawn[..., None]),
        gloss=surface.gloss * (1 + strength * drawn),
        grain=surface.grain * (1 - drawn),
        defect=_mark(surface, drawn, above=0.25),
    )


def add_dent(surface: Surface, rng: np.random.Generator) -> Surface:
    """Something fell on it: a shallow hollow with a raised lip."""
    hollow = np.zeros_like(surface.solid)
    for _ in range(_TRIES):
        x, y = _spot(rng, inner=HUB + 0.05, outer=0.70)
        across, turn = rng.uniform(0.040, 0.075), rng.uniform(0, np.pi)
        squeeze = rng.uniform(0.65, 1.0)
        hollow = _ellipse(x, y, turn=turn, squeeze=squeeze) / np.float32(across)
        if surface.solid[hollow < 1].mean() > 0.97:
            break
    depth = rng.uniform(0.010, 0.022)
    bowl = np.exp(-(hollow**2) * 2.2) - 0.28 * np.exp(-(((hollow - 1.05) / 0.28) ** 2))
    return replace(
        surface,
        height=surface.height - np.float32(depth) * bowl,
        grain=surface.grain * ramp(hollow, 0.6, 1.2),
        gloss=surface.gloss * (0.55 + 0.45 * ramp(hollow, 0.5, 1.1)),
        defect=_mark(surface, ramp(hollow, 1.1, 1.0), above=0.5),
    )


def add_stain(surface: Surface, rng: np.random.Generator) -> Surface:
    """Oil or coolant dried on: a brown blot with a darker rim."""
    x, y = _spot(rng, inner=0.36, outer=0.68)
    away = distance_to(x, y) / np.float32(rng.uniform(0.09, 0.17))
    level = 1.2 - away + 0.9 * _clouds(rng, coarse=9)
    blot = ramp(level, 0.0, 0.10) * surface.solid
    rim = blot * ramp(np.abs(level - 0.08), 0.12, 0.02)
    strength = rng.uniform(0.45, 0.80)
    tint = np.array([0.62, 0.42, 0.30], dtype=np.float32)  # absorbs blue most
    amount = np.float32(strength) * (0.75 * blot + 0.45 * rim)
    return replace(
        surface,
        albedo=surface.albedo * (1 - amount[..., None] * tint),
        gloss=surface.gloss * (1 - 0.75 * amount),
        defect=_mark(surface, blot, above=0.4),
    )


def add_missing_hole(surface: Surface, rng: np.random.Generator) -> Surface:
    """The drill broke: the face is whole where a hole should be."""
    away = distance_to(*hole_centre(int(rng.integers(HOLES))))
    filled = ramp(away, COUNTERBORE + 0.006, COUNTERBORE + 0.002)
    return replace(
        surface,
        height=surface.height * (1 - filled) + np.float32(PLATE_HEIGHT) * filled,
        solid=np.maximum(surface.solid, filled),
        defect=ramp(away, COUNTERBORE, COUNTERBORE - 0.001),
    )


def add_crack(surface: Surface, rng: np.random.Generator) -> Surface:
    """A dark, jagged line that starts at a hole, at the bore or at the outer edge."""
    drawn = np.zeros_like(surface.solid)
    start, heading = _edge(rng)
    points = _stroke(
        start, heading=heading, length=rng.uniform(0.14, 0.34), rng=rng, jag=0.55, steps=22
    )
    thick = rng.uniform(1.3, 2.4)
    for index, (one, two) in enumerate(itertools.pairwise(points)):
        width = thick * (1 - 0.75 * index / len(points))
        np.maximum(drawn, _line([one, two], width=width), out=drawn)
    if rng.random() < 0.5:
        fork = points[len(points) // 2]
        branch = _stroke(
            fork, heading=heading + rng.choice([-0.7, 0.7]), length=0.09, rng=rng, jag=0.5
        )
        np.maximum(drawn, _line(branch, width=0.8), out=drawn)
    drawn *= surface.solid
    return replace(
        surface,
        height=surface.height - 0.010 * drawn,
        albedo=surface.albedo * (1 - 0.80 * drawn[..., None]),
        gloss=surface.gloss * (1 - 0.90 * drawn),
        defect=_mark(surface, drawn, above=0.25),
    )


def add_chip(surface: Surface, rng: np.random.Generator) -> Surface:
    """A piece broke out of the outer edge or of the bore."""
    edge = OUTER if rng.random() < 0.7 else BORE
    angle = rng.uniform(0, 2 * np.pi)
    bite = _ellipse(edge * np.cos(angle), edge * np.sin(angle), turn=angle, squeeze=0.7)
    level = 1 - bite / np.float32(rng.uniform(0.045, 0.095))
    level = level + 0.8 * _clouds(rng, coarse=14)
    face = ramp(level, 0.0, 0.06) * surface.solid
    gone = ramp(level, 0.26, 0.32) * surface.solid
    rough = 0.010 * _clouds(rng, coarse=40)
    return replace(
        surface,
        height=surface.height - face * (0.020 + rough),
        gloss=surface.gloss * (1 - 0.85 * face),
        grain=surface.grain * (1 - face),
        solid=surface.solid - gone,
        defect=_mark(surface, face, above=0.4),
    )


DEFECTS: Mapping[str, Callable[[Surface, np.random.Generator], Surface]] = {
    "chip": add_chip,
    "crack": add_crack,
    "dent": add_dent,
    "missing_hole": add_missing_hole,
    "scratch": add_scratch,
    "stain": add_stain,
}


def _spot(rng: np.random.Generator, *, inner: float, outer: float) -> tuple[float, float]:
    """A point of the ring between two radii, anywhere with the same chance."""
    radius = float(np.sqrt(rng.uniform(inner**2, outer**2)))
    angle = rng.uniform(0, 2 * np.pi)
    return radius * float(np.cos(angle)), radius * float(np.sin(angle))


def _edge(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """A point on an edge, and the direction into the metal from it."""
    heading = float(rng.uniform(0, 2 * np.pi))
    across, down = float(np.cos(heading)), float(np.sin(heading))
    where = rng.random()
    if where < 0.5:
        x, y = hole_centre(int(rng.integers(HOLES)))
        return (x + HOLE * across, y + HOLE * down), heading
    if where < 0.75:
        return (BORE * across, BORE * down), heading
    return (OUTER * across, OUTER * down), heading + np.pi


def _stroke(
    start: tuple[float, float],
    *,
    heading: float,
    length: float,
    rng: np.random.Generator,
    jag: float = 0.06,
    steps: int = 12,
) -> Points:
    """A path that keeps roughly to its heading."""
    x, y = start
    points = [start]
    for turn in rng.normal(0, jag, steps):
        x += length / steps * float(np.cos(heading + turn))
        y += length / steps * float(np.sin(heading + turn))
        points.append((x, y))
    return points


def _line(points: Points, *, width: float) -> Field:
    """A smooth line through points in half frames, `width` in pixels."""
    # OpenCV draws whole pixels of width, so draw at twice the size.
    canvas = np.zeros((2 * SIZE, 2 * SIZE), dtype=np.uint8)
    corners = np.round((np.asarray(points) + 1) * SIZE * 2**_SHIFT).astype(np.int32)
    whole = max(1, round(2 * width))
    cv2.polylines(canvas, [corners], False, 255, whole, cv2.LINE_AA, _SHIFT)
    small = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def _ellipse(x: float, y: float, *, turn: float, squeeze: float) -> Field:
    """Distance to a point, `squeeze` times as long along one direction, in half frames."""
    across, down = coordinates().x - np.float32(x), coordinates().y - np.float32(y)
    along = across * np.float32(np.cos(turn)) + down * np.float32(np.sin(turn))
    aside = down * np.float32(np.cos(turn)) - across * np.float32(np.sin(turn))
    return np.hypot(along, aside * np.float32(squeeze))


def _clouds(rng: np.random.Generator, *, coarse: int) -> Field:
    """Smooth noise of some `coarse` lumps across the picture, about -1 to 1."""
    total = np.zeros((SIZE, SIZE), dtype=np.float32)
    for octave, weight in enumerate((0.6, 0.3, 0.15)):
        lumps = rng.uniform(-1, 1, (coarse * 2**octave,) * 2).astype(np.float32)
        total += weight * cv2.resize(lumps, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return total


def _mark(surface: Surface, drawn: Field, *, above: float) -> Field:
    """The mask of what was drawn, on the metal only."""
    return ((drawn > above) & (surface.solid > 0.5)).astype(np.float32)
