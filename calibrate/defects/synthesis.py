"""Defects for good images: simulated ones, and real ones extended to other places.

Simulated: Perlin noise above a level, where the part is, filled with another texture that the
image shines through (DRAEM, arXiv 2108.07610; DiffusionAD, arXiv 2303.08730). Extended: a real
defect, changed and pasted (PRN, arXiv 2212.02031). No torch, no download: where there is no
folder of textures, they are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np

from calibrate.defects.foreground import Mask, Scene, foreground_from_image
from calibrate.defects.pasted import paste_defect
from calibrate.defects.perlin import LEVEL, anomaly_noise
from calibrate.defects.real import RealDefect
from calibrate.defects.textures import draw_texture, shuffle_cells, window_of
from calibrate.images import Image

MIN_SIDE = 32  # px

_TRIES = 6
_OPACITY = (0.2, 0.8)  # of the texture over the image, as in DiffusionAD
_OWN_SHARE = 0.5  # of simulated anomalies on a part that show the part itself, shuffled
_FEW_SHARE = 0.5  # of simulated anomalies of which one to three pieces are kept
_REAL_SHARE = 0.25  # of the anomalies that are not simulated: the real image as it is
_VISIBLE = 8.0  # grey levels by which a piece must differ from the image on average
_SMALLEST = 1e-4  # of the image's area: smaller pieces are dropped (6 px at 256 px)
_GREY = 2  # levels between the channels of an image, on average, up to which it counts as grey
_LAST_RESORT = 0.9  # quantile of the noise on the part that is an anomaly if all else failed


@dataclass(frozen=True, slots=True, eq=False)
class Synthesis:
    """Makes a defective image and its mask out of a good image.

    The result is decided by the image and the generator alone. For a training that can be
    resumed, give each sample a generator of its own: ``default_rng([seed, epoch, index])``.

    Attributes:
        textures: (H, W, 3) uint8 BGR of any size, see `textures_from_folder`; none = drawn ones.
        defects: real ones at the size of the images, see `defects_from_folder`.
        scene: ``object``: anomalies lie on the part, which each image is searched for;
            ``texture``: anywhere; ``auto``: as each image looks. `scene_from_images` asks several.

    Raises:
        ValueError: an unknown scene, or a texture of another shape or type.
    """

    textures: tuple[Image, ...] = ()
    defects: tuple[RealDefect, ...] = ()
    scene: Scene = "auto"

    def __post_init__(self) -> None:
        if self.scene not in get_args(Scene):
            raise ValueError(f"scene is {self.scene!r}; use one of {', '.join(get_args(Scene))}")
        for index, texture in enumerate(self.textures):
            _check_image(texture, f"texture {index}")

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Make one defective image; half the time from a real defect, if there are any.

        Args:
            image: a good one, (H, W, 3) uint8 BGR; not changed.
            rng: decides everything.

        Returns:
            (H, W, 3) uint8 BGR and (H, W) bool, True where defective; somewhere it is.

        Raises:
            ValueError: the image has another shape or type, is smaller than 32 px, or is not of
                the defects' size.
        """
        if not self.defects or rng.random() < 0.5:
            return self.simulate(image, rng)
        if rng.random() < _REAL_SHARE:
            return self.real(rng)
        return self.extend(image, rng)

    def simulate(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Change the part where noise says so; nothing outside the mask changes.

        Arguments, result and errors are those of a call.
        """
        _check_image(image, "the image")
        foreground = self.foreground(image)
        texture = self._texture(image, has_part=not foreground.all(), rng=rng)
        opacity = float(rng.uniform(*_OPACITY))
        few = rng.random() < _FEW_SHARE
        changed = _as_colourful(_blend(image, texture, opacity), image)
        for _ in range(_TRIES):
            mask = (anomaly_noise(image.shape[:2], rng=rng) > LEVEL) & foreground
            mask = _drop_hidden_pieces(mask, image, changed)
            mask = _keep_some_pieces(mask, rng=rng) if few else mask
            if mask.any():
                return _copy_where(mask, changed, image), mask
        return _change_visibly(image, foreground, rng=rng)

    def extend(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Paste a real defect, changed, onto the part; nothing outside the mask changes.

        Arguments and result are those of a call.

        Raises:
            ValueError: there are no defects, or as a call does.
        """
        _check_image(image, "the image")
        defect = self._defect(rng)
        if defect.image.shape != image.shape:
            raise ValueError(
                f"{defect.path}: read at {defect.mask.shape} and the image is {image.shape[:2]}; "
                "read the defects at the size of the images"
            )
        foreground = self.foreground(image)
        for _ in range(_TRIES):
            changed, mask = paste_defect(image, defect, foreground=foreground, rng=rng)
            changed = _as_colourful(changed, image)
            mask = _drop_hidden_pieces(mask, image, changed)
            if mask.any():
                return _copy_where(mask, changed, image), mask
        return self.real(rng)

    def real(self, rng: np.random.Generator) -> tuple[Image, Mask]:
        """One of the real defects as it was seen.

        Raises:
            ValueError: there are no defects.
        """
        defect = self._defect(rng)
        return defect.image.copy(), defect.mask.copy()

    def foreground(self, image: Image) -> Mask:
        """Where anomalies may lie, (H, W) bool."""
        if self.scene == "texture":
            return np.ones(image.shape[:2], dtype=np.bool_)
        return foreground_from_image(image)

    def _defect(self, rng: np.random.Generator) -> RealDefect:
        if not self.defects:
            raise ValueError("no real defects to extend; read some with defects_from_folder")
        return self.defects[int(rng.integers(len(self.defects)))]

    def _texture(self, image: Image, *, has_part: bool, rng: np.random.Generator) -> Image:
        # A surface that is shuffled looks like itself, so only a part is filled with itself.
        if has_part and rng.random() < _OWN_SHARE:
            return shuffle_cells(image, rng=rng)
        size = image.shape[:2]
        if not self.textures:
            return draw_texture(size, rng=rng)
        return window_of(self.textures[int(rng.integers(len(self.textures)))], size, rng=rng)


def _check_image(image: Image, name: str) -> None:
    fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not fits or min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"{name} is {image.dtype} {image.shape}; give (H, W, 3) uint8, at least {MIN_SIDE} px"
        )


def _blend(image: Image, texture: Image, opacity: float) -> Image:
    return np.asarray(cv2.addWeighted(texture, opacity, image, 1 - opacity, 0), dtype=np.uint8)


def _as_colourful(changed: Image, image: Image) -> Image:
    """Grey where the image is: a grey camera shows no coloured defect."""
    blue, green, red = cv2.split(image)
    if cv2.norm(blue, red, cv2.NORM_L1) + cv2.norm(blue, green, cv2.NORM_L1) > _GREY * blue.size:
        return changed
    grey = cv2.cvtColor(changed, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def _copy_where(mask: Mask, changed: Image, image: Image) -> Image:
    return np.asarray(cv2.copyTo(changed, mask.view(np.uint8), image.copy()), dtype=np.uint8)


def _drop_hidden_pieces(mask: Mask, image: Image, changed: Image) -> Mask:
    """Drop the pieces that are specks or that nobody could see.

    A label on what looks sound teaches a network to guess.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    area = stats[:, cv2.CC_STAT_AREA]
    blue, green, red = cv2.split(cv2.absdiff(image, changed))
    change = cv2.max(cv2.max(blue, green), red)
    total = np.bincount(labels.ravel(), weights=change.ravel(), minlength=count)
    kept = (total >= _VISIBLE * area) & (area >= _SMALLEST * mask.size)
    kept[0] = False
    return np.asarray(kept[labels])


def _keep_some_pieces(mask: Mask, *, rng: np.random.Generator) -> Mask:
    """One to three of the pieces: real defects are seldom all over the part."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8))
    kept = np.zeros(count, dtype=np.bool_)
    kept[1 + rng.permutation(count - 1)[: int(rng.integers(1, 4))]] = True
    return np.asarray(kept[labels])


def _change_visibly(
    image: Image, foreground: Mask, *, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """The top tenth of the noise on the part, every pixel half the range away from what it was."""
    noise = anomaly_noise((image.shape[0], image.shape[1]), rng=rng)
    mask = foreground & (noise >= np.quantile(noise[foreground], _LAST_RESORT))
    return _copy_where(mask, image ^ np.uint8(128), image), mask
