"""The station: part, belt, lamps and camera make a picture."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge.demo.defects import DEFECTS
from edge.demo.flange import SIZE, Field, Surface, coordinates, make_flange
from edge.result import Image

BELT_LENGTH = 4
"""Frames until the belt's texture repeats."""

_BELT_SEED = 20
_BELT_COLOUR = (0.175, 0.190, 0.150)  # BGR
_LAMPS = ((0.0, 0.85, 1.0), (2.1, 0.7, 0.35))  # azimuth from the key lamp, elevation, power
_ROTATION = 3.0  # degrees that the fixture allows
_SHIFT = 0.014  # half frames that the fixture allows
_BLUR = 0.55  # of the lens, pixels (standard deviation)
_NOISE = 1.6  # of a mid-grey pixel, grey levels


@dataclass(frozen=True, slots=True)
class Light:
    """The lamps over the line.

    Attributes:
        azimuth: direction from which the key lamp shines, radians, 0 = from the right.
        gain: brightness; 1 is what the station was set up with.
        warmth: shift from blue (-) to red (+), about 0.
    """

    azimuth: float
    gain: float
    warmth: float


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part in the fixture: its surface, and where its turning axis is, in half frames."""

    surface: Surface
    centre: tuple[float, float]


def draw_part(
    rng: np.random.Generator, *, size: int = 256, defect: str | None = None
) -> tuple[Image, Image]:
    """Draw one part in place under the camera.

    Args:
        rng: decides texture, pose, light, noise and the defect.
        size: height and width of the picture in pixels, 64 to `SIZE`.
        defect: one of `DEFECTS`; None draws a sound part.

    Returns:
        The picture, (size, size, 3) uint8 BGR, and its mask, (size, size) uint8: 255 where the
        part is defective, 0 elsewhere.

    Raises:
        ValueError: no such defect, or no such size.
    """
    if not 64 <= size <= SIZE:
        raise ValueError(f"size is {size}; give 64 to {SIZE} pixels")
    light = set_lamps(rng)
    part = make_part(rng, defect=defect)
    exposure = expose(part, belt=float(rng.uniform(0, BELT_LENGTH)), light=light)
    picture, mask = develop(exposure, rng), (part.surface.defect > 0.5).astype(np.uint8) * 255
    if size == SIZE:
        return picture, mask
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    # A mask pixel is defective where a quarter of it is.
    share = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), (share > 63).astype(np.uint8) * 255


def set_lamps(rng: np.random.Generator) -> Light:
    """The lamps of the station, as they drift within their tolerance."""
    return Light(
        azimuth=-2.2 + float(rng.uniform(-0.06, 0.06)),
        gain=float(rng.uniform(0.96, 1.04)),
        warmth=float(rng.uniform(-0.012, 0.012)),
    )


def make_part(rng: np.random.Generator, *, defect: str | None = None) -> Part:
    """Make a part and put it in the fixture.

    Raises:
        ValueError: no such defect.
    """
    if defect is not None and defect not in DEFECTS:
        raise ValueError(f"no defect named {defect!r}; one of {', '.join(DEFECTS)}")
    surface = make_flange(rng)
    if defect is not None:
        surface = DEFECTS[defect](surface, rng)
    centre = (float(rng.uniform(-_SHIFT, _SHIFT)), float(rng.uniform(-_SHIFT, _SHIFT)))
    turn = float(rng.uniform(-_ROTATION, _ROTATION))
    return Part(_pose(surface, turn=turn, centre=centre), centre)


def expose(part: Part, *, belt: float, light: Light) -> Field:
    """Let a part on the belt fall on the sensor; `develop` makes the picture.

    Args:
        part: in the fixture.
        belt: position of the belt in frames.
        light: the lamps.

    Returns:
        (SIZE, SIZE, 3) BGR grey levels without noise.
    """
    surface = part.surface
    scene = _belt_at(belt)
    dark = _shade(surface, light) * (1 - surface.solid)
    scene *= cv2.merge((dark, dark, dark))
    scene += _reflect(part, light) * surface.solid[..., None]
    tint = np.array([1 - light.warmth, 1, 1 + light.warmth], np.float32) * np.float32(light.gain)
    seen = cv2.GaussianBlur(scene, (5, 5), _BLUR) * _vignette() * tint
    return cv2.pow(np.maximum(seen, 0), 0.8) * np.float32(255)


def develop(exposure: Field, rng: np.random.Generator) -> Image:
    """Add the sensor's noise, which grows with the square root of the light, and round."""
    y, x = rng.integers(SIZE, size=2)
    strength = cv2.sqrt(exposure * np.float32(0.65 / 128) + np.float32(0.35))
    noisy: Field = exposure + _noise()[y : y + SIZE, x : x + SIZE] * strength + np.float32(0.5)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _pose(surface: Surface, *, turn: float, centre: tuple[float, float]) -> Surface:
    middle = (SIZE - 1) / 2
    matrix: Field = cv2.getRotationMatrix2D((middle, middle), turn, 1.0)
    matrix[:, 2] += np.asarray(centre) * (SIZE / 2)

    def moved(field: Field, how: int = cv2.INTER_LINEAR) -> Field:
        border = cv2.BORDER_REPLICATE
        return cv2.warpAffine(field, matrix, (SIZE, SIZE), flags=how, borderMode=border)

    names = ("height", "albedo", "gloss", "grain", "solid")
    fields = {name: moved(getattr(surface, name)) for name in names}
    return Surface(**fields, defect=moved(surface.defect, cv2.INTER_NEAREST))


def _reflect(part: Part, light: Light) -> Field:
    """What the surface sends to the camera, BGR, 0 to about 1."""
    surface = part.surface
    relief = surface.height * (SIZE / 2)
    slope_x: Field = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    steepness = slope_x * slope_x + slope_y * slope_y
    length = np.sqrt(1 + steepness)
    diffuse: Field = np.zeros_like(length)
    mirrored: Field = np.zeros_like(length)
    for azimuth, elevation, power in _LAMPS:
        flat, z = float(np.cos(elevation)), float(np.sin(elevation))
        angle = light.azimuth + azimuth
        x, y = flat * float(np.cos(angle)), flat * float(np.sin(angle))
        facing = (z - x * slope_x - y * slope_y) / length
        diffuse += power * np.maximum(facing, 0)
        half = math.sqrt(x * x + y * y + (z + 1) ** 2)
        glint = np.maximum(((z + 1) - x * slope_x - y * slope_y) / (length * half), 0)
        for _ in range(4):  # to the 16th power
            glint *= glint
        mirrored += power * glint
    turned = _wedges(part.centre, light) / (1 + 30 * steepness)
    shine = surface.gloss * (turned * (1 + 0.28 * surface.grain) + 0.20 * mirrored)
    around = cv2.blur(cv2.blur(relief, (SIZE // 32,) * 2), (SIZE // 32,) * 2)
    occlusion = np.clip(1 - 0.06 * (around - relief), 0.45, 1)
    matt = (0.18 + 0.34 * diffuse) * occlusion * (1 + 0.05 * surface.grain)
    seen: Field = surface.albedo * matt[..., None] + (shine * occlusion)[..., None]
    return seen


def _wedges(centre: tuple[float, float], light: Light) -> Field:
    """Two bright wedges: rings of grooves mirror a lamp only where they lie across it."""
    x, y = coordinates().x - np.float32(centre[0]), coordinates().y - np.float32(centre[1])
    square = x * x + y * y + np.float32(1e-4)
    wedges = np.full_like(x, 0.10)
    for azimuth, power, width in ((0.0, 0.34, 0.10), (2.1, 0.16, 0.06)):
        across = x * np.float32(np.sin(light.azimuth + azimuth))
        across -= y * np.float32(np.cos(light.azimuth + azimuth))
        wedges += power * np.exp(-across * across / square / np.float32(width))
    return wedges


def _shade(surface: Surface, light: Light) -> Field:
    """Light that reaches the belt, 0 to 1: the part's outline, away from the key lamp, is dark."""
    small = cv2.resize(surface.solid, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    side = small.shape[0]
    reach = 0.035 * side
    across, down = -reach * np.cos(light.azimuth), -reach * np.sin(light.azimuth)
    cast = cv2.warpAffine(small, np.array([[1, 0, across], [0, 1, down]], np.float32), (side, side))
    near = cv2.GaussianBlur(cast, (0, 0), side / 70)
    far = cv2.GaussianBlur(small, (0, 0), side / 18)
    shade = np.clip(1 - 0.60 * near - 0.30 * far, 0.12, 1)
    return cv2.resize(shade, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def _belt_at(position: float) -> Field:
    """The belt under the camera, BGR; always the same belt, wherever it stands."""
    strip = _belt()
    start = round(position * SIZE) % strip.shape[1]
    grey = strip[:, (start + np.arange(SIZE)) % strip.shape[1]]
    return cv2.merge([grey * np.float32(channel) for channel in _BELT_COLOUR])


@functools.cache
def _belt() -> Field:
    """Brightness of the whole belt: a rubber weave with dust and rubbed streaks."""
    from scipy import ndimage

    rng = np.random.default_rng(_BELT_SEED)
    length = BELT_LENGTH * SIZE
    fine = rng.standard_normal((SIZE, length)).astype(np.float32)
    soft = ndimage.gaussian_filter(fine, 1.1, mode="wrap") * 3.4
    lumps = ndimage.gaussian_filter(fine, (12, 20), mode="wrap") * 50
    streaks = ndimage.gaussian_filter1d(rng.standard_normal(SIZE), 1.5, mode="wrap")[:, None]
    y, x = np.mgrid[:SIZE, :length].astype(np.float32)
    weave = np.sin(x * np.float32(2 * np.pi / 8)) * np.sin(y * np.float32(2 * np.pi / 8))
    return np.asarray(
        1 + 0.10 * weave + 0.09 * soft + 0.025 * lumps + 0.04 * streaks, dtype=np.float32
    )


@functools.cache
def _vignette() -> Field:
    """Fall-off of the lens towards the corners."""
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    grey = 1 - np.float32(0.10) * (axis[None, :] ** 2 + axis[:, None] ** 2)
    return cv2.merge((grey, grey, grey))


@functools.cache
def _noise() -> Field:
    """A stock of noise from which each picture takes a chance cut-out: drawing it anew is slow."""
    rng = np.random.default_rng(_BELT_SEED)
    return rng.standard_normal((2 * SIZE, 2 * SIZE, 3), dtype=np.float32) * np.float32(_NOISE)
