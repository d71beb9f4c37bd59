"""What the page shows of a camera: drawn results, wherever they were drawn."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from edge.service.http_routes import DrawnResult

WATCHED_S = 5.0
"""For so long after asking, somebody counts as watching."""
FRESH_S = 2.0
"""An older picture is not given: it would be taken for what is there now."""
WAIT_S = 0.5
"""Longest wait for a picture that is not drawn yet."""
MAX_REJECTS = 12


class ShownPictures:
    """What a camera shows now, and its last rejected parts; any thread may ask.

    Args:
        on_asked: told each time that somebody asks for what is there now.
    """

    def __init__(self, on_asked: Callable[[], object] = lambda: None) -> None:
        self._on_asked = on_asked
        self._changed = threading.Condition()
        self._live: DrawnResult | None = None
        self._rejects: deque[DrawnResult] = deque(maxlen=MAX_REJECTS)
        self._asked_s = -math.inf

    def put(self, shown: DrawnResult, *, rejected: bool) -> None:
        """Show a result, as one of the rejected, too."""
        with self._changed:
            self._live = shown
            if rejected:
                self._rejects.appendleft(shown)
            self._changed.notify_all()

    def note_watched(self) -> None:
        """Somebody asks for what is there now."""
        self._asked_s = time.monotonic()
        self._on_asked()

    def is_watched(self, now_s: float) -> bool:
        """Whether somebody has asked lately."""
        return now_s - self._asked_s < WATCHED_S

    def live(self, *, unless_id: str = "") -> tuple[DrawnResult, float] | None:
        """See `edge.service.http_routes.Pictures`."""
        self.note_watched()
        with self._changed:
            self._changed.wait_for(lambda: self._is_new(unless_id), timeout=WAIT_S)
            picture = self._live
        if picture is None:
            return None
        age_s = time.monotonic() - picture.monotonic_s
        return None if age_s > FRESH_S else (picture, age_s)

    def rejects(self) -> tuple[DrawnResult, ...]:
        """See `edge.service.http_routes.Pictures`."""
        with self._changed:
            return tuple(self._rejects)

    def _is_new(self, unless_id: str) -> bool:
        picture = self._live
        if picture is None or picture.id == unless_id:
            return False
        return time.monotonic() - picture.monotonic_s <= FRESH_S
