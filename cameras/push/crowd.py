"""What every server does about connections that are too many, or whose peer is gone."""

from __future__ import annotations

import math
import socket

CROWDED_S = 60.0
"""For which a lack of places is told after the last time."""


class Crowd:
    """Counts connections that were closed for lack of room: told once, as long as it lasts."""

    def __init__(self) -> None:
        self._count = 0
        self._last_s = -math.inf
        self._loser = ""

    def note(self, loser: str, now: float) -> bool:
        """Count one more; True for the first one within a minute.

        Args:
            loser: whose connection was closed.
            now: monotonic, in s.
        """
        is_first = now - self._last_s > CROWDED_S
        self._count = 1 if is_first else self._count + 1
        self._last_s, self._loser = now, loser
        return is_first

    def trouble(self, now: float) -> str:
        """What there is to tell, while it lasts and for a minute; empty if nothing."""
        if now - self._last_s > CROWDED_S:
            return ""
        times = f"{self._count} connections were" if self._count > 1 else "a connection was"
        return f"all places are taken: {times} closed, the last one of {self._loser}"


def keep_alive(connection: socket.socket) -> None:
    """Let the system find out within half a minute that a silent peer is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        option = getattr(socket, name, None)  # absent outside Linux
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
