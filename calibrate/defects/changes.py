"""What a drawn defect does to the surface, each as strong as its contrast asks.

The contrast is told in grey levels: a multiple of how much the picture varies around the place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.defects.textures import draw_texture
from calibrate.images import Image

DefectKind: TypeAlias = Literal["darker", "brighter", "shifted", "noise", "texture"]
SurfaceLevels: TypeAlias = npt.NDArray[np.float32]  # (h, w, 3) BGR, 0 to 255 and beyond

_GRAIN = 10  # times the grain of noise goes into a defect
_OFFSET = 0.5  # of the contrast by which a shifted piece is brighter or darker than it was
_SMALLEST_TEXTURE = 16  # px that are drawn at least, so that there is something in it


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a defect is drawn.

    Attributes:
        image: the whole picture, (H, W, 3) uint8 BGR.
        part: which of its pixels the defect's box covers.
        strength: of the change in grey levels.
        is_grey: whether the picture has no colours, so that the defect has none.
    """

    image: Image
    part: tuple[slice, slice]
    strength: float
    is_grey: bool

    @property
    def pixels(self) -> SurfaceLevels:
        """What is there: (h, w, 3) float32."""
        return self.image[self.part].astype(np.float32)


def change_surface(change: DefectKind, place: Place, *, rng: np.random.Generator) -> Image:
    """What the box of a defect would show if it were defective all over.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    changed = _CHANGES[change](place, rng)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _darken(place: Place, _: np.random.Generator) -> SurfaceLevels:
    return place.pixels - np.float32(place.strength)


def _brighten(place: Place, _: np.random.Generator) -> SurfaceLevels:
    return place.pixels + np.float32(place.strength)


def _shift(place: Place, rng: np.random.Generator) -> SurfaceLevels:
    """A piece from elsewhere, turned and a little brighter or darker (CutPaste, 2104.04015)."""
    height, width = place.pixels.shape[:2]
    turn = np.deg2rad(float(rng.uniform(0, 360)))
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    source = rng.uniform(0, 1, 2) * (place.image.shape[1] - 1, place.image.shape[0] - 1)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    move = np.column_stack([matrix, source - matrix @ middle])
    piece = cv2.warpAffine(
        place.image,
        move,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    sign = 1 if rng.random() < 0.5 else -1
    return piece.astype(np.float32) + np.float32(sign * _OFFSET * place.strength)


def _add_noise(place: Place, rng: np.random.Generator) -> SurfaceLevels:
    height, width = place.pixels.shape[:2]
    grain = max(1, round(max(height, width) / _GRAIN))
    cells = (-(-height // grain), -(-width // grain), 1 if place.is_grey else 3)
    noise = rng.standard_normal(cells).astype(np.float32)
    noise = np.broadcast_to(noise, (*cells[:2], 3))
    fine = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(place.pixels + np.float32(place.strength) * fine, dtype=np.float32)


def _cover_with_texture(place: Place, rng: np.random.Generator) -> SurfaceLevels:
    """A foreign texture about the mean of what it hides."""
    pixels = place.pixels
    height, width = pixels.shape[:2]
    side = max(height, width, _SMALLEST_TEXTURE)
    drawn = draw_texture((side, side), rng=rng)[:height, :width].astype(np.float32)
    if place.is_grey:
        drawn = np.repeat(drawn.mean(axis=2, keepdims=True), 3, axis=2)
    drawn -= drawn.mean()
    spread = max(float(drawn.std()), 1.0)
    return np.asarray(pixels.mean((0, 1)) + drawn * np.float32(place.strength / spread), np.float32)


_CHANGES: dict[DefectKind, Callable[[Place, np.random.Generator], SurfaceLevels]] = {
    "darker": _darken,
    "brighter": _brighten,
    "shifted": _shift,
    "noise": _add_noise,
    "texture": _cover_with_texture,
}
