"""What a broker does not do for us: each is told once, and shown for as long as it lasts."""

from __future__ import annotations

import logging
import threading

_log = logging.getLogger("edge.plc.mqtt")
TAKEN_OVER = 0x8E
"""MQTT 5: another client has connected under this one's name."""
SHORT_S = 5.0
"""A connection that ends sooner was not worth much; see `Takeovers`."""
MANY = 4
"""Such connections in a row that are no accident."""
STABLE_S = 60.0
"""A connection that lasts so long is sound again."""
BACK_OFF_S = (60, 300)


class Troubles:
    """Lines for people, by what they are about; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}

    def begin(self, about: str, line: str) -> None:
        """Log a trouble, unless it was told already."""
        with self._lock:
            if self._lines.get(about) == line:
                return
            self._lines[about] = line
        _log.error("mqtt: %s", line)

    def end(self, about: str) -> bool:
        """Take note that it is over; whether there was one."""
        with self._lock:
            return self._lines.pop(about, None) is not None

    @property
    def text(self) -> str:
        """All that there is, in one line; empty if nothing."""
        with self._lock:
            return "; ".join(self._lines.values())


class Takeovers:
    """Recognises that two clients have one name: each ends the other's connection, for ever.

    MQTT 5 says so. An older broker just closes the connection: several short ones in a row, each
    accepted, are taken for the same.
    """

    def __init__(self) -> None:
        self._short = 0
        self._pauses = 0

    def note_end(self, *, lasted_s: float, code: int) -> int | None:
        """Take note of the end of a connection that had been accepted.

        Args:
            lasted_s: how long it was of use.
            code: the broker's reason, 0 without one.

        Returns:
            Seconds to wait before the next attempt, where another client has our name; else None.
        """
        if lasted_s >= STABLE_S:
            self._short = self._pauses = 0
        self._short = self._short + 1 if lasted_s < SHORT_S else 0
        if code != TAKEN_OVER and self._short < MANY and not (self._pauses and self._short):
            return None
        pause_s = min(BACK_OFF_S[0] << self._pauses, BACK_OFF_S[1])
        self._pauses = min(self._pauses + 1, 8)
        return pause_s

    @property
    def is_backing_off(self) -> bool:
        """Whether the last connections ended so."""
        return self._pauses > 0

    def note_stable(self) -> None:
        """Take note that a connection holds."""
        self._short = self._pauses = 0
