"""What a sink is: somewhere that results go, such as a file, a database or a window.

Each is a context manager with `write(result)`. One that cannot be opened raises `SinkError` before
anything is inspected. One that can no longer write says so once in the log, counts what it drops
in `losses`, keeps trying, and never stops the inspection.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol, TypeAlias

from cameras.redaction import printable_path
from edge.drawing.overlay import draw
from edge.result import Image, Result
from edge.sinks.losses import LossCounter

Paint: TypeAlias = Callable[[Result], Image]

_RATE_OVER_S = 2.0


class SinkError(RuntimeError):
    """A sink cannot be opened: nothing has been inspected yet, correct it and start again."""


class Sink(Protocol):
    """Takes results in order, always from the same thread.

    A sink may also have ``flush()``, called when nothing more waits for it, and ``alone``: whether
    it has a thread of its own (by default a lossless one has).

    Attributes:
        lossless: whether it must get every result, and then without pictures; one that draws may
            be left out when a live camera is faster than it.
        losses: what it was given and could not write, or had no time for.
    """

    lossless: bool
    losses: LossCounter

    def write(self, result: Result) -> None:
        """Write one result; what goes wrong is counted in `losses` and not raised."""
        ...


class RateMeter:
    """Counts events, for how many come each second; used by one thread."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def count(self, now: float) -> float | None:
        """Count one more, and return the rate of late in Hz; None at first.

        Args:
            now: monotonic, in s.
        """
        self._times.append(now)
        while now - self._times[0] > _RATE_OVER_S:
            self._times.popleft()
        elapsed = now - self._times[0]
        return (len(self._times) - 1) / elapsed if elapsed > 0.2 else None


class Painter:
    """Draws results with the rate at which they come; sinks that share one draw each only once."""

    def __init__(self) -> None:
        self._rate = RateMeter()
        self._last: tuple[Result, Image] | None = None

    def __call__(self, result: Result) -> Image:
        """Return the drawn picture; it is shared, so it must not be changed."""
        if self._last is None or self._last[0] is not result:
            rate_hz = self._rate.count(time.monotonic())
            self._last = (result, draw(result, rate_hz=rate_hz))
        return self._last[1]


def open_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder that results go into, unless it is there.

    Raises:
        SinkError: it cannot be made or written.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(
            f"{printable_path(folder)}: {error.strerror}; name another folder"
        ) from error
    if not os.access(path, os.W_OK):
        raise SinkError(f"{printable_path(folder)}: not writable; name another folder")
    return path


def refuse_watched(folder: Path, source: object) -> None:
    """Refuse a folder whose pictures the source delivers: each would be inspected, without end.

    Raises:
        SinkError: it is one.
    """
    watched = getattr(source, "folder", None)
    if watched is not None and folder.exists() and watched.exists() and folder.samefile(watched):
        raise SinkError(
            f"{printable_path(folder)}: pictures there are inspected; name another folder for ours"
        )


def refuse_source(path: Path, sources: Iterable[str]) -> None:
    """Refuse a file to write that is one of the sources: what was filmed would be gone.

    Raises:
        SinkError: it is one.
    """
    for source in sources:
        with contextlib.suppress(OSError):  # such as an address that is too long for a name
            if path.exists() and Path(source).exists() and path.samefile(source):
                raise SinkError(f"{printable_path(path)}: it is inspected; name another file")


def name_from_result(result: Result) -> str:
    """Return a file name without suffix, such as ``20260131T101500.123Z_000012_NG_part-7``."""
    stem = "" if "://" in result.source else Path(result.source).stem
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", stem)[:60].strip("-.")
    begin = begin_of_name(result.captured_at_ns, result.frame, result.verdict.value)
    return f"{begin}_{readable}" if readable else begin


def begin_of_name(captured_at_ns: int, frame: int, verdict: str) -> str:
    """How a result's file names begin, such as ``20260131T101500.123Z_000012_NG``."""
    return f"{name_from_frame(captured_at_ns, frame)}_{verdict}"


def name_from_frame(captured_at_ns: int, frame: int) -> str:
    """A frame's name for files, such as ``20260131T101500.123Z_000012``."""
    seconds, rest = divmod(captured_at_ns, 1_000_000_000)
    when = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y%m%dT%H%M%S")
    return f"{when}.{rest // 1_000_000:03d}Z_{frame:06d}"
