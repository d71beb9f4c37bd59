"""What a sink could not write: counted always, logged once per outage."""

from __future__ import annotations

import errno
import logging
import time

AGAIN_S = 10.0
HANGING_S = 10.0
"""For which one write may go on before it is a trouble: a dead disk, a pipe that nobody reads."""
_log = logging.getLogger("edge.sinks")


class LossCounter:
    """Counts what a sink drops; logs the first loss of each outage, and its end.

    Args:
        where: what cannot be written, such as a path.
        what: what is lost, in the plural.
        counts_skipped: whether results that come too quickly are losses; not for a sink that only
            shows the newest.

    Attributes:
        count: those that the sink was given and could not write.
        skipped: those that it had no time for; counted by who hands them over.
        reason: why they cannot be written now; empty while everything is written.
        writing_since_s: when the write that goes on now began, monotonic; None while there is none.
    """

    def __init__(self, where: str, what: str, *, counts_skipped: bool = True) -> None:
        self.where = where
        self.count = 0
        self.skipped = 0
        self.reason = ""
        self.writing_since_s: float | None = None
        self._what = what
        self._counts_skipped = counts_skipped
        self._before = 0  # losses when the outage began

    @property
    def total(self) -> int:
        """Results that were not written, either way."""
        return self.count + self.skipped

    @property
    def trouble(self) -> str:
        """What cannot be written now, and why; empty while everything is."""
        if self.reason:
            return f"{self.where}: {self.reason}"
        since_s = self.writing_since_s
        took_s = 0.0 if since_s is None else time.monotonic() - since_s
        if took_s < HANGING_S:
            return ""
        return f"{self.where}: one write has gone on for {took_s:.0f} s; {self._what} wait"

    def add(self, why: str | Exception, count: int = 1) -> None:
        """Count losses; with a count of 0 they wait in memory.

        Args:
            why: in words, or what was raised.
            count: how many.
        """
        before, self.reason = self.reason, why if isinstance(why, str) else _reason_from_error(why)
        if not before:
            self._before = self.count
            are = "being dropped" if count else "kept in memory while it lasts, then dropped"
            remedy = "free disk space" if _is_full(why) else "check that place"
            _log.error(
                "%s; %s are %s; inspection continues; %s", self.trouble, self._what, are, remedy
            )
        self.count += count

    def skip(self, count: int) -> None:
        """Count results that came too quickly."""
        if self._counts_skipped:
            self.skipped += count

    def end_outage(self) -> None:
        """Take note that writing works."""
        if self.reason:
            lost = self.count - self._before
            _log.warning("%s: writing again; %d %s were dropped", self.where, lost, self._what)
            self.reason = ""


class RepeatFilter:
    """Logs a repeated error once, then every 10 s; used by one thread."""

    def __init__(self) -> None:
        self._last: tuple[str, float] = ("", -AGAIN_S)

    def is_news(self, reason: str) -> bool:
        """Whether an error is to be told: its reason differs from the last one told, or 10 s on."""
        words = strip_digits(reason)
        now = time.monotonic()
        if words == self._last[0] and now - self._last[1] < AGAIN_S:
            return False
        self._last = (words, now)
        return True


def strip_digits(reason: str) -> str:
    """A reason without its digits, which count up within one: "no frame for 1.0 s", "for 2.0 s"."""
    return "".join(letter for letter in reason if not letter.isdigit())


def _is_full(why: str | Exception) -> bool:
    """Whether room on the disk is what lacks, as far as anybody knows."""
    if isinstance(why, Exception) and not isinstance(why, OSError):
        return "full" in str(why)  # SQLite's own, which have no number of the system's
    number = why.errno if isinstance(why, OSError) else None
    return number is None or number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _reason_from_error(error: Exception) -> str:
    """One line; OpenCV's errors have several."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), type(error).__name__)
