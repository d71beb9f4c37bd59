"""Defects drawn into good images over a range of sizes, kinds and contrasts, for measuring.

Training wants variety (`calibrate.defects.synthesis`); measuring wants to know what was drawn:
each defect has a size, a kind and a contrast of its own, and all of them come equally often.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.defects.changes import DefectKind, Place, change_surface
from calibrate.defects.foreground import Mask, foreground_from_image
from calibrate.defects.shapes import Opacity, Outline, draw_shape
from calibrate.images import Image

SIZES = (0.02, 0.04, 0.08, 0.16, 0.32)
"""Extents, as shares of the image's shorter side."""
CONTRASTS = (1.0, 2.0, 4.0)
"""As multiples of how much the image varies around the place: faint, clear, strong."""
QUIET = 6.0  # grey levels: a place is taken to vary by this at least, or nobody would see a change
MIN_SIDE = 32  # px of an image

_AROUND = 0.5  # of a defect's size, on each side, by which the place's variation is measured
_LEAST_AROUND = 4  # px of that
_TRIES = 12  # places
_INSIDE = 0.95  # of the defect that lies on the part, or another place is tried
_SEEN = 0.5  # of the strength asked by which the picture changes, or another place is tried
_GREY = 2  # levels between the channels, on average, up to which an image counts as grey


@dataclass(frozen=True, slots=True)
class DefectRange:
    """Which defects are drawn: every combination of these equally often.

    Attributes:
        sizes: extents, as shares of the image's shorter side.
        contrasts: as multiples of how much the image varies around the place.
        kinds: what they do to the surface.
        outlines: their shapes.
    """

    sizes: tuple[float, ...] = SIZES
    contrasts: tuple[float, ...] = CONTRASTS
    kinds: tuple[DefectKind, ...] = get_args(DefectKind)
    outlines: tuple[Outline, ...] = get_args(Outline)

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            ValueError: nothing of a kind, a size outside (0, 1], or a contrast of 0 or less.
        """
        if not all((self.sizes, self.contrasts, self.kinds, self.outlines)):
            raise ValueError("defects of no size, contrast, kind or outline; give one of each")
        if not all(0 < size <= 1 for size in self.sizes):
            raise ValueError(f"sizes {self.sizes}: give shares of the shorter side, up to 1")
        if not all(contrast > 0 for contrast in self.contrasts):
            raise ValueError(f"contrasts {self.contrasts}: give multiples above 0")


@dataclass(frozen=True, slots=True)
class DrawnDefect:
    """What was drawn.

    Attributes:
        size: extent, as a share of the image's shorter side.
        contrast: as a multiple of how much the image varies around the place.
        kind: what it does to the surface.
        outline: its shape.
    """

    size: float
    contrast: float
    kind: DefectKind
    outline: Outline


@dataclass(frozen=True, slots=True, eq=False)
class DrawnImage:
    """A good image with one defect in it.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        mask: (H, W) bool, True where the defect is; nothing else differs from the good image.
        defect: what was drawn.
        source: index of the good image.
    """

    image: Image
    mask: Mask
    defect: DrawnDefect
    source: int


def draw_defects(
    images: Iterable[Image],
    *,
    seed: int,
    per_image: int = 2,
    defects: DefectRange | None = None,
) -> Iterator[DrawnImage]:
    """Draw defects into good images, one into each copy.

    Images may be of any size; draw at the camera's, before they are made smaller for the model, so
    that a defect suffers what a real one does.

    Args:
        images: good ones, (H, W, 3) uint8 BGR, at least 32 px; not changed, taken one at a time.
        seed: decides everything, together with the images and their order.
        per_image: how many copies of each image.
        defects: which are drawn; None = the usual range.

    Yields:
        `per_image` copies of each image in turn.

    Raises:
        ValueError: an image of another shape or type, or smaller.
    """
    wanted = _in_balance(defects or DefectRange(), seed=seed)
    for source, image in enumerate(images):
        _check_image(image)
        ground = _Ground(image, foreground_from_image(image), _is_grey(image))
        for copy in range(per_image):
            rng = np.random.default_rng([seed, source, copy])
            defect = next(wanted)
            pixels, mask = _draw(ground, defect, rng=rng)
            yield DrawnImage(pixels, mask, defect, source)


def _in_balance(defects: DefectRange, *, seed: int) -> Iterator[DrawnDefect]:
    """All combinations, again and again; any few in a row differ in size, then in the rest."""
    rng = np.random.default_rng(seed)
    sizes, contrasts, kinds, outlines = (
        defects.sizes,
        defects.contrasts,
        defects.kinds,
        defects.outlines,
    )
    blocks = list(itertools.product(range(len(outlines)), range(len(contrasts)), range(len(kinds))))
    while True:
        for block in rng.permutation(len(blocks)):
            shape, contrast, change = blocks[block]
            for step in rng.permutation(len(sizes)):
                yield DrawnDefect(
                    size=sizes[step],
                    contrast=contrasts[(contrast + step) % len(contrasts)],
                    kind=kinds[(change + step) % len(kinds)],
                    outline=outlines[(shape + step) % len(outlines)],
                )


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """A good image, where its part is, and whether it has no colours."""

    image: Image
    foreground: Mask
    is_grey: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A defect at a place that was tried; the better of two has more of its own."""

    pixels: Image
    inside: Mask
    part: tuple[slice, slice]
    quality: float


def _draw(ground: _Ground, defect: DrawnDefect, *, rng: np.random.Generator) -> tuple[Image, Mask]:
    image = ground.image
    side = max(1, round(defect.size * min(image.shape[:2])))
    opacity = draw_shape(defect.outline, side, rng=rng)
    places = np.flatnonzero(ground.foreground)
    tries = (_try(ground, defect, opacity, places, rng=rng) for _ in range(_TRIES))
    best = next(tries)
    while best.quality < 1 and (found := next(tries, None)) is not None:
        best = max(best, found, key=lambda one: one.quality)
    drawn, mask = image.copy(), np.zeros(image.shape[:2], np.bool_)
    drawn[best.part], mask[best.part] = best.pixels, best.inside
    return drawn, mask


def _try(
    ground: _Ground,
    defect: DrawnDefect,
    opacity: Opacity,
    places: npt.NDArray[np.intp],
    *,
    rng: np.random.Generator,
) -> _Candidate:
    image, foreground = ground.image, ground.foreground
    centre = divmod(int(places[rng.integers(len(places))]), image.shape[1])
    part = _box(centre, opacity.shape, image.shape)
    inside = (opacity > 0) & foreground[part]
    strength = defect.contrast * _variation(image, foreground, part)
    place = Place(image, part, strength, ground.is_grey)
    weight = np.where(inside, opacity, np.float32(0))[:, :, None]
    before = place.pixels
    changed = change_surface(defect.kind, place, rng=rng)
    pixels = np.rint(before + weight * (changed - before)).astype(np.uint8)
    covered = np.count_nonzero(inside) / np.count_nonzero(opacity)
    strongest = np.abs(changed - before).max(axis=2)[inside]
    seen = float(np.sqrt(np.mean(strongest**2))) / strength if inside.any() else 0.0
    quality = min(covered / _INSIDE, 1) * min(seen / _SEEN, 1)
    return _Candidate(pixels, inside, part, quality)


def _box(
    centre: tuple[int, int], shape: tuple[int, ...], image: tuple[int, ...]
) -> tuple[slice, slice]:
    """The box of a shape around a place, moved so that it lies within the image."""
    top, left = (
        min(max(middle - length // 2, 0), limit - length)
        for middle, length, limit in zip(centre, shape, image[:2], strict=True)
    )
    return slice(top, top + shape[0]), slice(left, left + shape[1])


def _variation(image: Image, foreground: Mask, part: tuple[slice, slice]) -> float:
    """Standard deviation of the grey levels around a place, on the part; at least `QUIET`."""
    rows, columns = part
    margin = max(
        _LEAST_AROUND, round(_AROUND * max(rows.stop - rows.start, columns.stop - columns.start))
    )
    around = (
        slice(max(rows.start - margin, 0), rows.stop + margin),
        slice(max(columns.start - margin, 0), columns.stop + margin),
    )
    grey = cv2.cvtColor(np.ascontiguousarray(image[around]), cv2.COLOR_BGR2GRAY)
    some = grey[foreground[around]]
    return max(QUIET, float(some.std())) if some.size else QUIET


def _check_image(image: Image) -> None:
    fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not fits or min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"an image is {image.dtype} {image.shape}; give (H, W, 3) uint8, at least {MIN_SIDE} px"
        )


def _is_grey(image: Image) -> bool:
    blue, green, red = cv2.split(image)
    apart = cv2.norm(blue, red, cv2.NORM_L1) + cv2.norm(blue, green, cv2.NORM_L1)
    return apart <= _GREY * blue.size
