"""Which peers come how often: told once each, and how often when it is too often."""

from __future__ import annotations

from dataclasses import dataclass

OFTEN = 10
"""Connections of one peer within a minute that are told as too many."""
MINUTE_S = 60.0
_TELL_AGAIN_S = 3600.0
_MAX_PEERS = 64  # that are known by name; a network of strangers must not fill the memory


@dataclass(slots=True)
class _Visits:
    begun_s: float
    count: int = 0
    told_s: float | None = None


class VisitLog:
    """Says what a log should have of peers that connect; a PLC may do so in each of its scans."""

    def __init__(self) -> None:
        self._visits: dict[str, _Visits] = {}

    def note(self, peer: str, now: float) -> str:
        """Count a connection; the line for the log, or an empty one.

        Args:
            peer: its address.
            now: monotonic, in s.
        """
        visits = self._visits.get(peer)
        if visits is None:
            if len(self._visits) >= _MAX_PEERS:
                return ""
            self._visits[peer] = _Visits(now, count=1)
            return f"{peer} connected"
        if now - visits.begun_s > MINUTE_S:
            visits.begun_s, visits.count = now, 0
        visits.count += 1
        told_lately = visits.told_s is not None and now - visits.told_s < _TELL_AGAIN_S
        if visits.count != OFTEN or told_lately:
            return ""
        visits.told_s = now
        return (
            f"{peer} connected {OFTEN} times within {now - visits.begun_s:.1f} s; let it keep its "
            "connection, or close it before opening the next; said again after an hour at most"
        )
