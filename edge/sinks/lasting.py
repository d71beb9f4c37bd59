"""Errors that last are told once, and again from time to time: an outage is one event."""

from __future__ import annotations

import time

AGAIN_S = 10.0


def wording(reason: str) -> str:
    """A reason without its digits, which count up within one: "no frame for 1.0 s", "for 2.0 s"."""
    return "".join(letter for letter in reason if not letter.isdigit())


class Lasting:
    """Tells the first of errors that follow each other with one reason; used by one thread."""

    def __init__(self) -> None:
        self._last: tuple[str, float] = ("", -AGAIN_S)

    def is_news(self, reason: str) -> bool:
        """Whether an error is to be told: another reason than the last that was, or 10 s later."""
        words = wording(reason)
        now = time.monotonic()
        if words == self._last[0] and now - self._last[1] < AGAIN_S:
            return False
        self._last = (words, now)
        return True
