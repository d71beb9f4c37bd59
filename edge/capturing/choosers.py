"""Which of a camera's frames are saved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from cameras.frame import Frame

Chooser: TypeAlias = Callable[[Frame], bool]
"""Whether a frame with an image is saved; called with each, in order."""
Small: TypeAlias = npt.NDArray[np.float32]  # (48, 64) grey levels

_SIZE = (64, 48)
CHANGED = 12.0  # grey levels by which a place differs
CHANGED_SHARE = 0.01  # of the places: another part, or another position
RESTING_SHARE = 0.002  # of the places that may still move from frame to frame
_NS_PER_S = 1e9


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


def when_changed() -> Chooser:
    """A frame that differs from the last one that was saved, once nothing moves in it."""
    saved: Small | None = None
    before: Small | None = None

    def wants(frame: Frame) -> bool:
        nonlocal saved, before
        assert frame.image is not None
        now = _small(frame.image)
        rests = before is not None and _changed_share(now, before) <= RESTING_SHARE
        before = now
        if not rests or (saved is not None and _changed_share(now, saved) < CHANGED_SHARE):
            return False
        saved = now
        return True

    return wants


class Triggers:
    """Triggers that came; the first frame captured after each is saved."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._times_ns: list[int] = []

    def trigger(self, now_ns: int) -> None:
        """Take note of a trigger; any thread may call.

        Args:
            now_ns: monotonic time of it.
        """
        with self._lock:
            self._times_ns.append(now_ns)

    def wait_until_served(self) -> None:
        """Wait until each trigger that came has its frame."""
        with self._lock:
            self._lock.wait_for(lambda: not self._times_ns)

    def __call__(self, frame: Frame) -> bool:
        """Whether a trigger came before this frame was captured; it serves all that did."""
        with self._lock:
            due = [time for time in self._times_ns if time <= frame.monotonic_ns]
            self._times_ns = self._times_ns[len(due) :]
            self._lock.notify_all()
        return bool(due)


def _small(image: npt.NDArray[np.uint8]) -> Small:
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)


def _changed_share(one: Small, other: Small) -> float:
    return float((np.abs(one - other) > CHANGED).mean())
