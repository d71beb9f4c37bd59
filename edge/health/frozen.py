"""A picture that no longer changes.

A sensor's noise changes every picture. Where it arrives, one that repeats exactly is frozen. But
an encoder may leave out noise: its pictures of a still scene repeat until the next key frame, and
then differ a little. How long they do is learnt while the stream runs, so that a still scene is no
fault, and a picture that stays for longer is.
"""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from edge.health.low_noise import LowNoiseDetector
from edge.result import Image

# Seconds
QUICK_S = 1.5  # unchanged for so long is frozen where pictures have been changing
UNSURE_S = 10.0  # and at the start, or in a still scene, before it is known how long pictures stay
MAX_PATIENCE_S = 30.0  # whatever was learnt
RESTLESS_S = 3.0  # without a picture that stayed, and pictures are said to be changing
ALIVE_S = 1.0  # without a picture that stayed, and one that was frozen is believed again
LATE_S = 1.5  # time constant of the share of a picture that changes
_MIN_RUN_S = 0.5  # a shorter one is an encoder's or a camera's everyday
_MAX_STEP_S = 1.0

# Times as long as pictures have stayed by themselves
STAYS = 1.5
STILL_STAYS = 3.5  # in a still scene: a key frame or two may change nothing

# Pictures
MIN_REPEATS = 5  # fewer prove nothing at a low rate
MEMORY = 512  # that one which comes again is compared with: loops are frozen too
RUNS = 20  # latest of those that ended by themselves

# Changes
NOISY_SHARE = 0.5  # of a picture's pieces that change each time, of late, if noise arrives
STILL_GREY = 8.0  # grey levels by which any part of a still scene differs after a key frame

# How a picture is cut up
_PIECES = 4  # of each row
_WORD = 8  # bytes
_LARGE = 1_000_000  # px from which every eighth row is looked at, else every fourth
_NS = 1e9

Marks = npt.NDArray[np.uint64]
_WEIGHTS: Marks = np.random.default_rng(0).integers(1, 2**63, 65_536, np.uint64) | np.uint64(1)


class FreezeDetector:
    """Tells a picture that stays from a still scene; sees every frame of one camera."""

    def __init__(self) -> None:
        self._marks: Marks | None = None
        self._rows: Image | None = None
        self._seen: dict[int, None] = {}
        self._new_ns = 0  # when the latest new picture came
        self._last_ns = 0
        self._repeats = 0
        self._changed = 0.0
        self._restless_ns: int | None = None  # since when no picture has stayed
        self._patience_s = UNSURE_S
        self._runs: deque[float] = deque(maxlen=RUNS)
        self._frozen_ns: int | None = None  # since when it is frozen, if it is
        self._refreshed = 0  # how often it stayed and then changed a little, since it is frozen
        self._low_noise = LowNoiseDetector()

    def find_problem(self, image: Image, monotonic_ns: int) -> str:
        """Return why the picture says nothing about the present; empty if it may be believed.

        Args:
            image: (H, W, 3) uint8 BGR.
            monotonic_ns: when it was captured.
        """
        rows = np.ascontiguousarray(image[:: 8 if image.size > 3 * _LARGE else 4])
        marks = _marks_from_rows(rows)
        key = hash(marks.tobytes())
        self._update_changed(marks, monotonic_ns)
        if key not in self._seen:
            self._learn(rows, monotonic_ns)
            self._seen[key] = None
            if len(self._seen) > MEMORY:
                del self._seen[next(iter(self._seen))]
            self._new_ns, self._repeats, self._rows = monotonic_ns, 0, rows
            self._patience_s = self._find_patience(monotonic_ns)
        else:
            self._repeats += 1
            stayed_s = (monotonic_ns - self._new_ns) / _NS
            if stayed_s >= self._patience_s and self._repeats >= MIN_REPEATS:
                self._frozen_ns = self._new_ns if self._frozen_ns is None else self._frozen_ns
        quiet_ns = self._low_noise.find_begin(rows, monotonic_ns)
        since_ns = quiet_ns if self._frozen_ns is None else self._frozen_ns
        if since_ns is None:
            return ""
        return (
            f"the picture has not changed for {(monotonic_ns - since_ns) / _NS:.1f} s; "
            "check the camera and what lies between"
        )

    def _update_changed(self, marks: Marks, now_ns: int) -> None:
        """Keep up how much of the picture changes, of late."""
        if self._restless_ns is None:
            self._restless_ns = now_ns
        elif self._marks is not None and self._marks.shape == marks.shape:
            step_s = min(_MAX_STEP_S, max(0, now_ns - self._last_ns) / _NS)
            changed = float(np.count_nonzero(self._marks != marks)) / max(1, marks.size)
            self._changed += (1.0 - math.exp(-step_s / LATE_S)) * (changed - self._changed)
        self._marks, self._last_ns = marks, now_ns

    def _learn(self, rows: Image, now_ns: int) -> None:
        """Draw conclusions from a new picture: how long the last one stayed, and what is new."""
        stayed_s = (now_ns - self._new_ns) / _NS
        stayed = self._repeats > 0 and stayed_s >= _MIN_RUN_S
        if not stayed and self._frozen_ns is None:
            return
        moved = self._has_moved(rows)
        if stayed:
            self._restless_ns = now_ns
            self._refreshed += self._frozen_ns is not None
            if not moved:
                self._runs.append(stayed_s)
        lives = (now_ns - (self._restless_ns or now_ns)) / _NS >= ALIVE_S
        # A key frame alone is no life: that of a frozen picture differs from what came before it,
        # but only the first of them is new.
        if moved or lives or self._refreshed >= 2:
            self._frozen_ns, self._refreshed = None, 0

    def _has_moved(self, rows: Image) -> bool:
        """Whether the scene is no longer as it was, rather than coded anew."""
        if self._rows is None or rows.shape != self._rows.shape:
            return True
        change = cv2.absdiff(rows, self._rows)
        return float(np.max(cv2.resize(change, (8, 8), interpolation=cv2.INTER_AREA))) >= STILL_GREY

    def _find_patience(self, now_ns: int) -> float:
        """How long a picture may stay from now on."""
        longest = sorted(self._runs)
        began_ns = now_ns if self._restless_ns is None else self._restless_ns
        if self._changed >= NOISY_SHARE:
            # Here a long stay was a fault, unless it comes again and again.
            stays = STAYS * longest[-3] if len(longest) >= 3 else 0.0
            least = QUICK_S
        else:
            restless = (now_ns - began_ns) / _NS >= RESTLESS_S
            stays = (STAYS if restless else STILL_STAYS) * (longest[-1] if longest else 0.0)
            least = QUICK_S if restless else UNSURE_S
        return min(MAX_PATIENCE_S, max(least, stays))


def _marks_from_rows(rows: Image) -> Marks:
    """A number for each piece of each row, that changes with any of its bytes."""
    flat = rows.reshape(len(rows), -1)
    words = flat.shape[1] // (_WORD * _PIECES)
    if words == 0 or words > len(_WEIGHTS):
        return np.frombuffer(hash(rows.tobytes()).to_bytes(8, "little", signed=True), np.uint64)
    pieces = flat[:, : words * _WORD * _PIECES].view(np.uint64).reshape(-1, words)
    return np.asarray(pieces @ _WEIGHTS[:words], np.uint64)
