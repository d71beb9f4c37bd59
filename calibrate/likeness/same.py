"""Whether two sketches are of one thing, but for light, a small shift, noise and compression."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from calibrate.likeness.sketches import BORDER, GreyPicture, Sketch, inside, slopes, smooth

MAX_DIFFERENCE = 3.0  # grey levels, smoothed: more, anywhere, is no noise
PLACE = 0.1  # px of a sketch at half its size, that no place is known better than
MIN_AGREEMENT = 0.8  # correlation of the textures
MAX_GAIN = 1.6  # of contrast, between two shots of one thing
NOISE = 1.5  # grey levels, below which there is no contrast to speak of
SMOOTHING = 1.0  # px of a sketch at half its size: noise goes, what tells parts apart stays
FINE, COARSE, LOCAL = 0.5, 3.0, 5.0  # px of a sketch: a texture's, and what it is measured over
STEPS = 3  # of the least squares, each from where the last one led
SATURATED = 248  # grey level, mean of some pixels, that may hide brighter ones


def is_same(one: Sketch, other: Sketch) -> bool:
    """Whether what differs between two sketches of one size is noise alone.

    The one is given the other's brightness, contrast and place. Smoothed, noise and compression
    then leave less than `MAX_DIFFERENCE` grey levels anywhere; another part leaves more somewhere,
    if only at its edges. Fine textures are smoothed away, and have to agree by themselves.
    """
    half, target = _halved(one), _halved(other)
    if max(float(half.std()), float(target.std())) < NOISE:  # nothing to see
        return True
    view = _fitted_view(half, target)
    if view is None:
        return False
    difference = np.abs(smooth(inside(view.of(half) - target), SMOOTHING))
    steepest = inside(np.hypot(*slopes(smooth(target, SMOOTHING))))
    if (difference - PLACE * steepest).max() > MAX_DIFFERENCE:
        return False
    whole = replace(view, right=2 * view.right, down=2 * view.down)
    return _agreement(whole.of(one.astype(np.float32)), other.astype(np.float32)) >= MIN_AGREEMENT


@dataclass(frozen=True, slots=True)
class _View:
    """How a camera would take a picture again: with what light, and from where, in px."""

    offset: float = 0.0
    gain: float = 1.0
    right: float = 0.0
    down: float = 0.0

    @property
    def is_likely(self) -> bool:
        """Whether it can be of one thing."""
        shift = max(abs(self.right), abs(self.down))
        return 1 / MAX_GAIN < self.gain < MAX_GAIN and shift <= BORDER / 2

    def of(self, picture: GreyPicture) -> GreyPicture:
        """The picture so taken; brighter than white is white."""
        matrix = np.array([[1, 0, self.right], [0, 1, self.down]], np.float32)
        moved = cv2.warpAffine(
            picture,
            matrix,
            picture.shape[::-1],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        lit = moved * np.float32(self.gain) + np.float32(self.offset)
        return np.asarray(np.clip(lit, 0, 255), np.float32)


def _fitted_view(first: GreyPicture, second: GreyPicture) -> _View | None:
    """The view that makes the second picture of the first; None if none is likely.

    Least squares along the slopes, as Lucas and Kanade do (IJCAI 1981), where neither picture is
    saturated.
    """
    target, view = smooth(second, SMOOTHING), _View()
    for _ in range(STEPS):
        placed = replace(view, offset=0.0, gain=1.0).of(first)
        offset, gain, right, down = _fit(smooth(placed, SMOOTHING), target)
        if gain <= 0:
            return None
        view = _View(offset, gain, view.right + right / gain, view.down + down / gain)
        if not view.is_likely:
            return None
    return view


def _halved(sketch: Sketch) -> GreyPicture:
    """At half the size: what is fitted and compared there costs a quarter."""
    height, width = sketch.shape
    half = cv2.resize(sketch, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.float32)


def _fit(first: GreyPicture, second: GreyPicture) -> tuple[float, float, float, float]:
    """Offset, gain, and weights of the slopes, that make the second picture of the first."""
    columns = [np.ones_like(first), first, *slopes(first)]
    design = np.stack([inside(one).ravel() for one in columns])
    values = inside(second).ravel()
    used = (design[1] < SATURATED) & (values < SATURATED)
    if used.sum() > len(values) / 20:
        design, values = design[:, used], values[used]
    normal = (design @ design.T).astype(np.float64) + np.diag([1e-6, 1e-6, 1.0, 1.0])
    offset, gain, right, down = np.linalg.solve(normal, (design @ values).astype(np.float64))
    return float(offset), float(gain), float(right), float(down)


def _agreement(first: GreyPicture, second: GreyPicture) -> float:
    """Correlation of two textures whose contrast is made equal everywhere; 1 where there is none.

    A few edges would else decide for all of the picture.
    """
    equal = []
    for picture in (first, second):
        texture = inside(smooth(picture, FINE) - smooth(picture, COARSE))
        equal.append(texture / np.sqrt(smooth(texture * texture, LOCAL) + NOISE**2))
    one, other = equal
    powers = float((one * one).mean()), float((other * other).mean())
    if max(powers) < 0.05:  # noise, or nothing
        return 1.0
    return float((one * other).mean()) / max(1e-9, math.sqrt(powers[0] * powers[1]))
