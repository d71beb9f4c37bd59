"""Which of a camera's frames are saved."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from cameras.frame import Frame
from edge.result import Roi

Chooser: TypeAlias = Callable[[Frame], bool]
"""Whether a frame with an image is saved; called with each, in order."""
Small: TypeAlias = npt.NDArray[np.float32]  # (48, 64) grey levels

_SIZE = (64, 48)
CHANGED = 12.0  # grey levels by which a place differs
CHANGED_SHARE = 0.01  # of the places: another part, or another position
RESTING_SHARE = 0.002  # of the places that may still move from frame to frame
_NS_PER_S = 1e9
_LONG_S, _SOME, _MANY = 5.0, 5, 150  # without rest, before it is said: s and frames, or frames


def every_nth(number: int) -> Chooser:
    """The first frame, and every so-manyth after it."""
    seen = 0

    def wants(_frame: Frame) -> bool:
        nonlocal seen
        seen += 1
        return (seen - 1) % number == 0

    return wants


def every_seconds(seconds: float) -> Chooser:
    """The first frame, and the first one after each so many seconds; pauses do not add up."""
    due: float | None = None

    def wants(frame: Frame) -> bool:
        nonlocal due
        now = frame.monotonic_ns / _NS_PER_S
        if due is not None and now < due:
            return False
        steps = 1 if due is None else (now - due) // seconds + 1
        due = (now if due is None else due) + steps * seconds
        return True

    return wants


class WhenChanged:
    """A frame that differs from the last one that was saved, once nothing moves in it.

    Args:
        roi: the part of the picture that is looked at; None is all of it.
    """

    def __init__(self, roi: Roi | None = None) -> None:
        self._roi = roi
        self._saved: Small | None = None
        self._before: Small | None = None
        self._moving: list[float] = []  # shares, since something was at rest
        self._since_ns = self._last_ns = 0
        self._told = False

    def __call__(self, frame: Frame) -> bool:
        """Whether this one is saved."""
        assert frame.image is not None
        now, before = _small(frame.image, self._roi), self._before
        self._before = now
        if before is None or not self._rests(_changed_share(now, before), frame.monotonic_ns):
            return False
        if self._saved is not None and _changed_share(now, self._saved) < CHANGED_SHARE:
            return False
        self._saved = now
        return True

    def hint(self, *, at_end: bool = False) -> str:
        """That nothing has been at rest for long, once, and what helps; empty if it has been.

        Args:
            at_end: whether no more frames come, so that fewer are enough.
        """
        if self._told or not self._moving or not (at_end or self._is_long):
            return ""
        self._told = True
        return (
            f"nothing at rest in {len(self._moving)} frames: from one to the next, "
            f"{median(self._moving):.0%} of the picture changes; for parts that never rest take "
            "--every or --triggered, else steady the camera and the light (flicker: an exposure "
            "of 1/100 or 1/120 s), or give the region of interest"
        )

    @property
    def _is_long(self) -> bool:
        seconds = (self._last_ns - self._since_ns) / _NS_PER_S
        frames = len(self._moving)
        return frames >= _MANY or (seconds >= _LONG_S and frames >= _SOME)

    def _rests(self, share: float, now_ns: int) -> bool:
        self._last_ns = now_ns
        if share <= RESTING_SHARE:
            self._moving.clear()
            self._told = False
            return True
        if not self._moving:
            self._since_ns = now_ns
        if len(self._moving) < _MANY:
            self._moving.append(share)
        return False


def _small(image: npt.NDArray[np.uint8], roi: Roi | None) -> Small:
    if roi is not None:
        x, y, width, height = roi
        within = image[y : y + height, x : x + width]
        image = within if within.size else image  # one that isn't there is told with the hints
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)


def _changed_share(one: Small, other: Small) -> float:
    return float((np.abs(one - other) > CHANGED).mean())
