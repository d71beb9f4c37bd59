"""What a sink could not write: counted always, reported once per outage."""

from __future__ import annotations

import logging

_log = logging.getLogger("edge.sinks")


class Losses:
    """Counts losses and logs the first of each outage, and its end.

    Args:
        where: path that cannot be written.
        what: what is lost, in the plural.
    """

    def __init__(self, where: str, what: str) -> None:
        self.count = 0
        self._where = where
        self._what = what
        self._since: int | None = None

    def add(self, why: str) -> None:
        """Count one loss."""
        if self._since is None:
            self._since = self.count
            _log.error(
                "%s: %s; %s are lost from here, the inspection goes on; free space there",
                *(self._where, why, self._what),
            )
        self.count += 1

    def recovered(self) -> None:
        """Take note that writing works again."""
        if self._since is not None:
            lost = self.count - self._since
            _log.warning("%s: written again; %d %s were lost", self._where, lost, self._what)
            self._since = None
