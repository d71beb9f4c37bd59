"""Light on a surface: lamps, mirrored light of turned metal, shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge.demo.flange import Field, Surface, as_field, grid_of


@dataclass(frozen=True, slots=True)
class Light:
    """The lamps over the line.

    Attributes:
        azimuth: direction from which the key lamp shines, radians, 0 = from the right.
        gain: brightness; 1 is what the station was set up with.
        warmth: shift from blue (-) to red (+), about 0.
    """

    azimuth: float = -2.2
    gain: float = 1.0
    warmth: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A lit part, ready to be laid on the belt; pixels of the picture.

    Attributes:
        colour: (S, S, 3) BGR, 0 to about 1, already multiplied by `cover`.
        cover: (S, S) 1 on the part.
        shade: (S, S) light that reaches the belt, 0 to 1.
        defect: (S, S) 1 where the part is defective.
    """

    colour: Field
    cover: Field
    shade: Field
    defect: Field


def lit(surface: Surface, *, light: Light, centre: tuple[float, float]) -> Sprite:
    """Light a surface.

    Args:
        surface: in its pose.
        light: the lamps.
        centre: (x, y) of the turning axis in the picture, in half frames.
    """
    size = surface.height.shape[0]
    relief = surface.height * (size / 2)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    steepness = slope_x * slope_x + slope_y * slope_y
    length = np.sqrt(1 + steepness)
    diffuse = mirrored = np.float32(0)
    for azimuth, elevation, power in ((0.0, 0.85, 1.0), (2.1, 0.7, 0.35)):
        x, y, z = _towards(light.azimuth + azimuth, elevation)
        facing = (z - x * slope_x - y * slope_y) / length
        diffuse = diffuse + power * np.maximum(facing, 0)
        half = math.sqrt(x * x + y * y + (z + 1) ** 2)
        glint = np.maximum(((z + 1) - x * slope_x - y * slope_y) / (length * half), 0)
        for _ in range(4):  # to the 16th power
            glint *= glint
        mirrored = mirrored + power * glint
    turned = _turned(size, light=light, centre=centre) / (1 + 30 * steepness)
    shine = surface.gloss * (turned * (1 + 0.28 * surface.grain) + 0.20 * mirrored)
    around = cv2.blur(cv2.blur(relief, (size // 32,) * 2), (size // 32,) * 2)
    occlusion = np.clip(1 - 0.06 * (around - relief), 0.45, 1)
    matt = (0.18 + 0.34 * diffuse) * occlusion * (1 + 0.05 * surface.grain)
    colour = surface.albedo * matt[..., None] + (shine * occlusion)[..., None]
    return Sprite(
        colour * surface.solid[..., None], surface.solid, _shade(surface, light), surface.defect
    )


def _towards(azimuth: float, elevation: float) -> tuple[float, float, float]:
    flat = float(np.cos(elevation))
    return flat * float(np.cos(azimuth)), flat * float(np.sin(azimuth)), float(np.sin(elevation))


def _turned(size: int, *, light: Light, centre: tuple[float, float]) -> Field:
    """Two bright wedges: rings of grooves mirror a lamp only where they lie across it."""
    grid = grid_of(size)
    x, y = grid.x - np.float32(centre[0]), grid.y - np.float32(centre[1])
    square = x * x + y * y + np.float32(1e-4)
    wedges = np.full_like(x, 0.10)
    for azimuth, power, width in ((0.0, 0.34, 0.10), (2.1, 0.16, 0.06)):
        across = x * np.float32(np.sin(light.azimuth + azimuth))
        across -= y * np.float32(np.cos(light.azimuth + azimuth))
        wedges += power * np.exp(-across * across / square / np.float32(width))
    return wedges


def _shade(surface: Surface, light: Light) -> Field:
    """Shadow on the belt: the outline, moved away from the key lamp, soft with distance."""
    size = surface.solid.shape[0]
    small = cv2.resize(surface.solid, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    reach = 0.035 * small.shape[0]
    across, down = -reach * np.cos(light.azimuth), -reach * np.sin(light.azimuth)
    move = np.array([[1, 0, across], [0, 1, down]], dtype=np.float32)
    cast = cv2.warpAffine(small, move, small.shape[::-1])
    near = cv2.GaussianBlur(cast, (0, 0), small.shape[0] / 70)
    far = cv2.GaussianBlur(small, (0, 0), small.shape[0] / 18)
    shade = np.clip(1 - 0.60 * near - 0.30 * far, 0.12, 1)
    return as_field(cv2.resize(shade, (size, size), interpolation=cv2.INTER_LINEAR))
