"""Turns at something that only so many can use at once: who came first goes first."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turns:
    """A context manager with so many places; the others wait in line.

    `threading.Lock` and `threading.Semaphore` let anybody in who happens to wake up: a thread that
    comes again at once could keep the others out.

    Args:
        places: how many may be inside at once, at least 1.
    """

    def __init__(self, places: int = 1) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._line: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Event()
            self._line.append(mine)
        mine.wait()  # who leaves hands its place over: nobody can slip in between

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._line:
                self._line.popleft().set()
            else:
                self._free += 1
