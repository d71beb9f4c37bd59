"""Drawn parts for training views: one object on a plain ground, lit and shaded. No torch.

Photographs of textures teach a backbone little about rims, shadows and empty ground, which is what
most pictures of a single part consist of.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Floats = npt.NDArray[np.float32]
CORNERS = 180  # of an outline


def draw_part(fill: Image, *, rng: np.random.Generator) -> Image:
    """One part on a plain ground.

    Args:
        fill: (size, size, 3) what the part's surface looks like.
        rng: decides everything else.

    Returns:
        (size, size, 3).
    """
    size = fill.shape[0]
    mask = _mask(size, rng=rng)
    ground = _ground(size, rng=rng)
    if rng.random() < 0.6:
        ground = ground * (1 - _shadow(mask, rng=rng))[:, :, None]
    surface = fill.astype(np.float32)
    if rng.random() < 0.7:  # less contrast than a photograph of nothing but texture
        tone = rng.uniform(20, 235, 3) if rng.random() < 0.3 else rng.uniform(20, 235)
        surface = tone + (surface - surface.mean()) * np.float32(rng.uniform(0.05, 0.7))
    surface = surface * _shading(mask, rng=rng)[:, :, None]
    edge = np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.4, 1.2))))[:, :, None]
    picture = ground * (1 - edge) + surface * edge
    return np.clip(picture, 0, 255).astype(np.uint8)


def _mask(size: int, *, rng: np.random.Generator) -> Floats:
    """The part's (size, size) outline, filled with 1: round, toothed, long or a polygon; holes."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    kind = rng.integers(4)
    if kind == 0:  # smooth
        radius = np.ones(CORNERS)
        for order in range(2, 7):
            wave = np.cos(order * angles + rng.uniform(0, 6.3))
            radius = radius + rng.normal(0, 0.25 / order) * wave
        outline = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    elif kind == 1:  # toothed, such as a gear or a biscuit
        depth, teeth = rng.uniform(0.02, 0.2), int(rng.integers(5, 40))
        wave = np.sin(teeth * angles)
        radius = 1 + depth * (np.sign(wave) if rng.random() < 0.5 else wave)
        outline = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    elif kind == 2:  # long, its width changing along its length, its sides perhaps threaded
        outline = _long(rng=rng)
    else:
        count = int(rng.integers(3, 9))
        at = np.sort(rng.uniform(0, 2 * np.pi, count))
        outline = np.stack([np.cos(at), np.sin(at)], 1) * rng.uniform(0.7, 1.2, (count, 1))
    mask = np.zeros((size, size), np.float32)
    scale, turn = size * rng.uniform(0.2, 0.48), rng.uniform(0, 2 * np.pi)
    stretch = np.array([1.0, rng.uniform(0.5, 1.0)])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = size * rng.uniform(0.35, 0.65, 2)
    points = (outline * stretch) @ rotation.T * scale + centre
    cv2.fillPoly(mask, [(points * 16).astype(np.int32)], 1.0, cv2.LINE_8, shift=4)
    for _ in range(int(rng.integers(0, 4))):
        hole = centre + rng.normal(0, 0.3 * scale, 2)
        middle = (int(hole[0]), int(hole[1]))
        cv2.circle(mask, middle, max(1, int(scale * rng.uniform(0.03, 0.25))), 0.0, -1)
    return mask


def _long(*, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A shaft's outline, (n, 2), from -1 to 1 along x."""
    along = np.linspace(-1, 1, CORNERS // 2)
    width = np.full_like(along, rng.uniform(0.08, 0.25))
    for _ in range(int(rng.integers(0, 3))):  # a head, a collar
        start = rng.uniform(-1, 0.8)
        inside = (along > start) & (along < start + rng.uniform(0.1, 0.5))
        width[inside] = rng.uniform(0.08, 0.4)
    thread = np.zeros_like(along)
    if rng.random() < 0.6:
        thread = rng.uniform(0.01, 0.05) * np.sin(along * rng.uniform(20, 90))
    upper = np.stack([along, width + thread], 1)
    lower = np.stack([along, -width + thread], 1)
    return np.concatenate([upper, lower[::-1]])


def _ground(size: int, *, rng: np.random.Generator) -> Floats:
    """A plain (size, size, 3) ground: one tone, light falling off, a little grain."""
    tone = rng.uniform(0, 255) if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    corners = rng.normal(0, rng.uniform(0, 25), (2, 2)).astype(np.float32)
    light = np.asarray(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR))
    grain = rng.standard_normal((size, size), np.float32) * np.float32(rng.uniform(0, 5))
    if rng.random() < 0.5:
        grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(0.5, 2))))
    ground = np.broadcast_to(tone, (size, size, 3)) + (light + grain)[:, :, None]
    return np.asarray(np.clip(ground, 0, 255), np.float32)


def _shadow(mask: Floats, *, rng: np.random.Generator) -> Floats:
    """How much of the light the part takes from the ground, 0 to 1."""
    size = mask.shape[0]
    shift = rng.normal(0, 0.03 * size, 2)
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    moved = cv2.warpAffine(mask, matrix, (size, size))
    blurred = cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(0.01, 0.06) * size))
    return np.asarray(blurred * np.float32(rng.uniform(0.1, 0.7)), np.float32)


def _shading(mask: Floats, *, rng: np.random.Generator) -> Floats:
    """Light on a rounded surface: a factor around 1, from the slope of the blurred outline."""
    size = mask.shape[0]
    height = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.01, 0.08) * size))
    slopes = (cv2.Sobel(height, cv2.CV_32F, 1, 0), cv2.Sobel(height, cv2.CV_32F, 0, 1))
    turn = rng.uniform(0, 2 * np.pi)
    light = slopes[0] * np.float32(np.cos(turn)) + slopes[1] * np.float32(np.sin(turn))
    strongest = float(np.abs(light).max())
    if strongest > 0:
        light = light / np.float32(strongest)
    return np.asarray(1 + np.float32(rng.uniform(0, 0.7)) * light, np.float32)
