"""What a sink could not write: counted always, reported once per outage."""

from __future__ import annotations

import logging

_log = logging.getLogger("edge.sinks.files")


class Losses:
    """Counts losses and logs the first of each outage, and its end.

    Args:
        where: path that cannot be written.
        what: what is lost, in the plural.

    Attributes:
        count: losses so far.
        trouble: what is wrong now, in words; empty while everything is written.
    """

    def __init__(self, where: str, what: str) -> None:
        self.count = 0
        self.trouble = ""
        self._where = where
        self._what = what
        self._before = 0  # losses when the outage began

    def add(self, why: str, count: int = 1) -> None:
        """Count losses; with a count of 0 they wait in memory."""
        if not self.trouble:
            self._before = self.count
            are = "are lost" if count else "wait, and are lost when too many do,"
            _log.error(
                "%s: %s; %s %s from here, the inspection goes on; free space there",
                *(self._where, why, self._what, are),
            )
        self.trouble = f"{self._where}: {why}"
        self.count += count

    def recovered(self) -> None:
        """Take note that writing works again."""
        if self.trouble:
            lost = self.count - self._before
            _log.warning("%s: written again; %d %s were lost", self._where, lost, self._what)
            self.trouble = ""


class Losing:
    """What counts in `_losses`, and shows it as a `Sink` does."""

    __slots__ = ()

    _losses: Losses

    @property
    def lost(self) -> int:
        """How many could not be written."""
        return self._losses.count

    @property
    def trouble(self) -> str:
        """Why they wait or are being lost now; empty when they are not."""
        return self._losses.trouble
