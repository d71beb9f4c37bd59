"""A sink that is opened beside the work, and again and again where it cannot be."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from edge.result import Result
from edge.sinks.losses import LossCounter
from process.threads import GuardedThread

_RETRY_S = 5.0
_CLOSE_S = 2.0


class LateSink(contextlib.AbstractContextManager["LateSink"]):
    """Opens a sink in a thread, so that nobody waits for a disk; what comes before, waits for it.

    Args:
        open_it: opens the sink: complete at birth, with ``close``.
        where: it writes, for messages.
        refusals: what `open_it` may raise: it is tried again later, and what comes meanwhile is
            counted as lost.
    """

    lossless = False
    alone = True

    def __init__(
        self, open_it: Callable[[], Any], *, where: str, refusals: tuple[type[Exception], ...]
    ) -> None:
        self._open_it, self._refusals = open_it, refusals
        self._own = LossCounter(where, "results")
        self._busy = threading.Lock()
        self._closed = False
        self._retry_s = 0.0
        self._sink: Any = None
        GuardedThread(self._open, name="edge-open").start()

    @property
    def losses(self) -> LossCounter:
        """Those of the sink, with those before it was open."""
        counter: LossCounter = self._own if self._sink is None else self._sink.losses
        return counter

    def write(self, result: Result) -> None:
        """See `Sink.write`."""
        if self._sink is None:
            self._open()
        if self._sink is not None:
            self._sink.write(result)
        else:
            self._own.add(self._own.reason or "not open yet")

    def flush(self) -> None:
        """Write what waits, where the sink has anything like it."""
        flush = getattr(self._sink, "flush", None)
        if flush is not None:
            flush()

    def close(self) -> None:
        """Close the sink, unless it hangs while it is opened; a second call does nothing."""
        if not self._busy.acquire(timeout=_CLOSE_S):
            return
        self._closed = True
        self._busy.release()
        if self._sink is not None:
            self._sink.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        with self._busy:
            if self._sink is not None or self._closed or time.monotonic() < self._retry_s:
                return
            try:
                sink = self._open_it()
            except self._refusals as error:
                self._retry_s = time.monotonic() + _RETRY_S
                self._own.add(error, 0)
                return
            sink.losses.count += self._own.count
            self._own.end_outage()
            self._sink = sink
