"""A picture that no longer lives, although its encoder still changes it.

An encoder with a fixed rate goes on improving a frozen picture for seconds: no two of its pictures
are equal, but next to nothing changes between key frames. Where a sensor's noise has always
arrived in most of the picture, moving or at rest, a picture without it is frozen, too.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from edge.result import Image

# Seconds
WINDOW_S = 0.9  # over which changes are looked at
QUIET_FOR_S = 0.15  # that it has to be quiet for, after a window that was
KNOWN_S = 3.0  # of noise, before its absence says anything
FADES_S = 2.5  # so much later a picture counts that may have been fading already
MEMORY_S = 120.0  # of the least noise
MAX_QUIET_S = 60.0  # then the noise has gone for another reason, or the picture repeats exactly
OFF_S = (600.0, 3600.0, 1e9)
"""After each time that it ended by itself: an encoder may leave noise out where nothing moves."""
_EVERY_S = 0.1  # it is looked
_MAX_STEP_S = 1.0  # between two pictures that are compared

# Grey levels: the mean change in most pieces
LOUD = 0.015  # from which noise is said to arrive
QUIET = 0.03  # below which it does not

# Factors and counts
FALLS = 4.0  # times below the least that there has been
LIVES = 2.0  # times below it from which it is believed again
KEPT_SHARE = 0.75  # of a window's pictures, those that changed least: the others are key frames
MIN_PICTURES = 5  # in a window
_SAMPLE = (48, 96)  # values of a picture that are looked at, down and across; green is enough
_GRID = (12, 8)  # pieces across and down
_NS = 1e9

Pieces = npt.NDArray[np.float32]


class LowNoiseDetector:
    """Follows by how much the pieces of a picture change; sees every frame of one camera."""

    def __init__(self) -> None:
        self._sample: Image | None = None
        self._last_ns = self._looked_ns = 0
        self._changes: deque[tuple[int, Pieces]] = deque()
        self._levels: deque[tuple[int, float]] = deque()  # while it lived
        self._quiet_ns: int | None = None
        self._since_ns: int | None = None
        self._endings = 0
        self._off_until_ns = 0

    def find_begin(self, rows: Image, now_ns: int) -> int | None:
        """Return since when nothing lives in the picture; None if it does, or nothing is known.

        Args:
            rows: some of a picture's rows, (H, W, 3) uint8.
            now_ns: monotonic time of its capture.
        """
        height, width = rows.shape[:2]
        down, across = max(1, height // _SAMPLE[0]), max(1, width // _SAMPLE[1])
        self._add_change(np.ascontiguousarray(rows[::down, ::across, 1]), now_ns)
        if now_ns - self._looked_ns < _EVERY_S * _NS or now_ns < self._off_until_ns:
            return self._since_ns
        self._looked_ns = now_ns
        level = self._measure_level(now_ns)
        if level is None:
            return self._since_ns
        least = self._find_least(now_ns)
        if self._since_ns is not None:
            lasted_s = (now_ns - self._since_ns) / _NS
            if least is None or level >= least / LIVES or lasted_s > MAX_QUIET_S:
                self._stop_believing(now_ns)
        elif least is not None and level < min(QUIET, least / FALLS):
            self._quiet_ns = self._quiet_ns or now_ns
            if now_ns - self._quiet_ns >= QUIET_FOR_S * _NS:
                self._since_ns = now_ns - int((WINDOW_S + QUIET_FOR_S) * _NS)
        else:
            self._quiet_ns = None
            self._levels.append((now_ns, level))
        return self._since_ns

    def _add_change(self, sample: Image, now_ns: int) -> None:
        """Take in by how much each piece has changed."""
        last, self._sample = self._sample, sample
        passed_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if last is None or last.shape != sample.shape or passed_ns > _MAX_STEP_S * _NS:
            self._changes.clear()
            return
        change = cv2.absdiff(sample, last).astype(np.float32)
        pieces = cv2.resize(change, _GRID, interpolation=cv2.INTER_AREA)
        self._changes.append((now_ns, np.asarray(pieces.ravel(), np.float32)))
        while now_ns - self._changes[0][0] > WINDOW_S * _NS:
            self._changes.popleft()

    def _measure_level(self, now_ns: int) -> float | None:
        """What half of the pieces change by at least; None before a window is full."""
        if len(self._changes) < MIN_PICTURES or now_ns - self._changes[0][0] < 0.8 * WINDOW_S * _NS:
            return None
        changes = np.stack([pieces for _, pieces in self._changes])
        order = np.argsort(changes.mean(axis=1))
        least = changes[order[: max(1, round(KEPT_SHARE * len(changes)))]]
        return float(np.median(least.mean(axis=0)))

    def _find_least(self, now_ns: int) -> float | None:
        """The least that there has been; None where noise does not always arrive."""
        while self._levels and now_ns - self._levels[0][0] > MEMORY_S * _NS:
            self._levels.popleft()
        began_ns = now_ns if self._since_ns is None else self._since_ns
        levels = [level for then, level in self._levels if began_ns - then >= FADES_S * _NS]
        if not levels or began_ns - self._levels[0][0] < (KNOWN_S + FADES_S) * _NS:
            return None
        return min(levels) if min(levels) >= LOUD else None

    def _stop_believing(self, now_ns: int) -> None:
        """It lives, or what it did is no sign of anything here: begin to learn anew."""
        off_s = OFF_S[min(self._endings, len(OFF_S) - 1)]
        self._off_until_ns = now_ns + int(off_s * _NS)
        self._endings += 1
        self._since_ns = self._quiet_ns = None
        self._levels.clear()
