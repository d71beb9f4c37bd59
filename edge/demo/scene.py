"""The station: part, belt, lamps and camera make a picture."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.demo.defects import DEFECTS
from edge.demo.flange import Field, Surface, as_field, sound_flange
from edge.demo.light import Light, Sprite, lit

Picture = npt.NDArray[np.uint8]

CAMERA_SIZE = 480
"""Pixels of the camera: smaller pictures are made from it, as an inspector makes them."""

BELT_LENGTH = 4
"""Frames until the belt's texture repeats."""

_BELT_SEED = 20
_BELT_COLOUR = (0.175, 0.190, 0.150)  # BGR
_ROTATION = 3.0  # degrees that the fixture allows
_SHIFT = 0.014  # half frames that the fixture allows
_BLUR = 0.55  # of the lens, pixels (standard deviation)
_NOISE = 1.6  # of a mid-grey pixel, grey levels
_NOISE_POOL = 2  # frames along each edge of the stock of noise


def draw_part(
    rng: np.random.Generator, *, size: int = 256, defect: str | None = None
) -> tuple[Picture, Picture]:
    """Draw one part in place under the camera.

    Args:
        rng: decides texture, pose, light, noise and the defect.
        size: height and width of the picture in pixels.
        defect: one of `DEFECTS`; None draws a sound part.

    Returns:
        The picture, (size, size, 3) uint8 BGR, and its mask, (size, size) uint8: 255 where the
        part is defective, 0 elsewhere.

    Raises:
        ValueError: no such defect, or the size is not between 64 and 2048.
    """
    light = lamps(rng)
    sprite = part_sprite(rng, size=camera_size(size), light=light, defect=defect)
    belt = float(rng.uniform(0, BELT_LENGTH))
    toned, mask = exposed(((sprite, 0),), belt=belt, light=light)
    return resized(developed(toned, rng=rng), mask, size=size)


def camera_size(size: int) -> int:
    """Pixels at which a picture of `size` is drawn; checks the size."""
    if not 64 <= size <= 2048:
        raise ValueError(f"size is {size}; give 64 to 2048 pixels")
    return max(size, CAMERA_SIZE)


def lamps(rng: np.random.Generator) -> Light:
    """The lamps of the station, as they drift within their tolerance."""
    return Light(
        azimuth=-2.2 + float(rng.uniform(-0.06, 0.06)),
        gain=float(rng.uniform(0.96, 1.04)),
        warmth=float(rng.uniform(-0.012, 0.012)),
    )


def part_sprite(
    rng: np.random.Generator, *, size: int, light: Light, defect: str | None = None
) -> Sprite:
    """Make a part, put it in the fixture and light it.

    Raises:
        ValueError: no such defect.
    """
    if defect is not None and defect not in DEFECTS:
        raise ValueError(f"no defect named {defect!r}; one of {', '.join(DEFECTS)}")
    surface = sound_flange(rng, size=size)
    if defect is not None:
        surface = DEFECTS[defect](surface, rng)
    centre = (float(rng.uniform(-_SHIFT, _SHIFT)), float(rng.uniform(-_SHIFT, _SHIFT)))
    posed = _posed(surface, turn=float(rng.uniform(-_ROTATION, _ROTATION)), centre=centre)
    return lit(posed, light=light, centre=centre)


def exposed(
    sprites: Sequence[tuple[Sprite, int]], *, belt: float, light: Light, smear: float = 0.0
) -> tuple[Field, Picture]:
    """Let parts on the belt fall on the sensor; `developed` makes the picture.

    Args:
        sprites: parts, at least one, and how far each is moved to the right, in pixels.
        belt: position of the belt in frames.
        light: the lamps.
        smear: pixels that the belt moves while the shutter is open.

    Returns:
        (S, S, 3) BGR grey levels without noise, and the mask (S, S) uint8, 255 where defective.
    """
    size = sprites[0][0].cover.shape[0]
    scene = _belt_at(belt, size=size)
    mask = np.zeros((size, size), dtype=np.float32)
    for sprite, shift in sprites:
        if abs(shift) < size:
            dark = _moved(sprite.shade, shift, fill=1.0) * (1 - _moved(sprite.cover, shift))
            scene *= cv2.merge((dark, dark, dark))
            scene += _moved(sprite.colour, shift)
            np.maximum(mask, _moved(sprite.defect, shift), out=mask)
    if smear >= 1:
        width = 2 * round(smear / 2) + 1
        scene = as_field(cv2.blur(scene, (width, 1), borderType=cv2.BORDER_REPLICATE))
    scene = as_field(cv2.GaussianBlur(scene, (5, 5), _BLUR * size / CAMERA_SIZE))
    scene *= _vignette(size)
    scene *= np.array([1 - light.warmth, 1, 1 + light.warmth], np.float32) * np.float32(light.gain)
    toned = cv2.pow(np.maximum(scene, 0), 0.8) * np.float32(255)
    return toned, (mask > 0.5).astype(np.uint8) * 255


def developed(toned: Field, *, rng: np.random.Generator) -> Picture:
    """Add the sensor's noise, which grows with the square root of the light, and round."""
    size = toned.shape[0]
    pool = _noise(size)
    y, x = rng.integers(pool.shape[0] - size, size=2)
    strength = cv2.sqrt(toned * np.float32(0.65 / 128) + np.float32(0.35))
    noisy = toned + pool[y : y + size, x : x + size] * strength + np.float32(0.5)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def resized(picture: Picture, mask: Picture, *, size: int) -> tuple[Picture, Picture]:
    """Scale down; a mask pixel is defective where a quarter of it is."""
    if picture.shape[0] == size:
        return picture, mask
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    part = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), (part > 63).astype(np.uint8) * 255


def _posed(surface: Surface, *, turn: float, centre: tuple[float, float]) -> Surface:
    size = surface.height.shape[0]
    middle = (size - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), turn, 1.0)
    matrix[:, 2] += np.asarray(centre) * (size / 2)

    def turned(field: Field, *, nearest: bool = False) -> Field:
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        border = cv2.BORDER_REPLICATE
        return as_field(cv2.warpAffine(field, matrix, (size, size), flags=how, borderMode=border))

    return Surface(
        height=turned(surface.height),
        albedo=turned(surface.albedo),
        gloss=turned(surface.gloss),
        grain=turned(surface.grain),
        solid=turned(surface.solid),
        defect=turned(surface.defect, nearest=True),
    )


def _moved(field: Field, shift: int, *, fill: float = 0.0) -> Field:
    """A field moved to the right by whole pixels."""
    if shift == 0:
        return field
    moved = np.full_like(field, fill)
    if shift > 0:
        moved[:, shift:] = field[:, :-shift]
    else:
        moved[:, :shift] = field[:, -shift:]
    return moved


def _belt_at(position: float, *, size: int) -> Field:
    """The belt under the camera, (S, S, 3); always the same belt, wherever it stands."""
    strip = _belt(size)
    start = round(position * size) % strip.shape[1]
    columns = (start + np.arange(size)) % strip.shape[1]
    grey = strip[:, columns]
    return as_field(cv2.merge([grey * np.float32(channel) for channel in _BELT_COLOUR]))


@functools.lru_cache(maxsize=4)
def _belt(size: int) -> Field:
    """Brightness of the whole belt, (S, 4 S): a rubber weave with dust and rubbed streaks."""
    from scipy import ndimage

    rng = np.random.default_rng(_BELT_SEED)
    length = BELT_LENGTH * size
    fine = rng.standard_normal((size, length)).astype(np.float32)
    soft = ndimage.gaussian_filter(fine, 1.1, mode="wrap") * 3.4
    lumps = ndimage.gaussian_filter(fine, (12, 20), mode="wrap") * 50
    streaks = ndimage.gaussian_filter1d(rng.standard_normal(size), 1.5, mode="wrap")[:, None]
    y, x = np.mgrid[:size, :length].astype(np.float32) * np.float32(480 / size)
    weave = np.sin(x * np.float32(2 * np.pi / 8)) * np.sin(y * np.float32(2 * np.pi / 8))
    return np.asarray(
        1 + 0.10 * weave + 0.09 * soft + 0.025 * lumps + 0.04 * streaks, dtype=np.float32
    )


@functools.lru_cache(maxsize=4)
def _vignette(size: int) -> Field:
    """Fall-off of the lens towards the corners, (S, S, 3)."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    grey = 1 - np.float32(0.10) * (axis[None, :] ** 2 + axis[:, None] ** 2)
    return as_field(cv2.merge((grey, grey, grey)))


@functools.lru_cache(maxsize=2)
def _noise(size: int) -> Field:
    """A stock of noise from which each picture takes a chance cut-out: drawing it anew is slow."""
    rng = np.random.default_rng(_BELT_SEED)
    side = _NOISE_POOL * size
    return rng.standard_normal((side, side, 3), dtype=np.float32) * np.float32(_NOISE)
