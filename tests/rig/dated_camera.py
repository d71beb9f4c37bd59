"""A live camera whose frames are dated by a test, and come when the test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from cameras.frame import Frame


class DatedCamera:
    """A source; ages in ms from now on are when its frames were captured."""

    live, name, dropped, rate_hz, length = True, "cam", 0, None, None

    def __init__(self, *ages_ms: float, image: np.ndarray) -> None:
        now = time.monotonic_ns()
        self.frames = [
            Frame("cam", index, 1, now + int(age * 1e6), image) for index, age in enumerate(ages_ms)
        ]
        self._released = threading.Semaphore(0)
        self._closed = threading.Event()

    def show(self, count: int) -> None:
        self._released.release(count)

    @contextmanager
    def showing(self, count: int, *, after_s: float) -> Iterator[None]:
        """Show so many in the middle of the block."""
        showing = threading.Timer(after_s, self.show, (count,))
        showing.start()
        yield
        showing.join()

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            while not self._released.acquire(timeout=0.01):
                if self._closed.is_set():
                    return
            yield frame

    def close(self) -> None:
        self._closed.set()
