"""Listeners are called in a thread of their own, in order, and can delay nobody."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edge.station.contract import InspectionResult, Snapshot
from edge.station.port import Cancel

LOG = logging.getLogger("edge.station")
MOST_WAITING = 1000
CLOSE_AFTER_S = 2.0
Item = TypeVar("Item")


@dataclass(slots=True)
class _Listeners(Generic[Item]):
    """Who listens to one kind of thing."""

    called: tuple[Callable[[Item], None], ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, listener: Callable[[Item], None]) -> Cancel:
        with self.lock:
            self.called = (*self.called, listener)
        return lambda: self.remove(listener)

    def remove(self, listener: Callable[[Item], None]) -> None:
        with self.lock:
            self.called = tuple(one for one in self.called if one is not listener)

    def call(self, item: Item) -> None:
        for listener in self.called:
            try:
                listener(item)
            except Exception:  # the border: somebody else's code
                LOG.exception("a listener failed and is not called again")
                self.remove(listener)


class Notifier:
    """Calls listeners; released by `close`.

    Attributes:
        lost: results and changes that were thrown away because a listener was too slow.
    """

    def __init__(self) -> None:
        self._results: _Listeners[InspectionResult] = _Listeners()
        self._changes: _Listeners[Snapshot] = _Listeners()
        self._waiting: queue.Queue[InspectionResult | Snapshot | None] = queue.Queue(MOST_WAITING)
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="edge-notifier", daemon=True)
        self._thread.start()

    def on_result(self, listener: Callable[[InspectionResult], None]) -> Cancel:
        """See `Port.on_result`."""
        return self._results.add(listener)

    def on_change(self, listener: Callable[[Snapshot], None]) -> Cancel:
        """See `Port.on_change`."""
        return self._changes.add(listener)

    def tell(self, item: InspectionResult | Snapshot) -> None:
        """Put something into the queue; never waits."""
        listened = (
            self._results.called if isinstance(item, InspectionResult) else self._changes.called
        )
        if not listened:
            return
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            if self.lost == 0:
                LOG.error("a listener is too slow: %d wait; what comes is lost", MOST_WAITING)
            self.lost += 1

    def close(self) -> None:
        """Deliver what waits, then stop; a second call does nothing."""
        if self._thread is threading.current_thread() or not self._thread.is_alive():
            return
        try:
            self._waiting.put(None, timeout=CLOSE_AFTER_S)
        except queue.Full:
            LOG.error("a listener hangs and is left to itself")
            return
        self._thread.join(CLOSE_AFTER_S)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, InspectionResult):
                self._results.call(item)
            else:
                self._changes.call(item)
