"""Listeners of a station, called in a thread of their own, in order: they can delay nobody."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from edge.plc.station.port import Cancel
from edge.plc.station.snapshot import InspectionResult, Snapshot
from process.threads import FAILURES, GuardedThread

LOG = logging.getLogger("edge.plc.station")
MAX_WAITING = 1000
CLOSE_AFTER_S = 2.0
POLL_S = 0.05
Item = TypeVar("Item")
Waiting: TypeAlias = InspectionResult | Snapshot | threading.Event | None
"""What listeners get, who waits until they have it, or nothing but a nudge."""


@dataclass(slots=True)
class _Audience(Generic[Item]):
    """Who listens to one kind of thing."""

    listeners: tuple[Callable[[Item], None], ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, listener: Callable[[Item], None]) -> Cancel:
        with self.lock:
            self.listeners = (*self.listeners, listener)
        return lambda: self.remove(listener)

    def remove(self, listener: Callable[[Item], None]) -> None:
        with self.lock:
            self.listeners = tuple(one for one in self.listeners if one is not listener)

    def call(self, item: Item) -> None:
        for listener in self.listeners:
            try:
                listener(item)
            except Exception as error:  # noqa: BLE001  # the border: somebody else's code
                FAILURES.note("a listener of the station", error, goes_on=False)
                self.remove(listener)


class Listeners:
    """Calls listeners until it is closed.

    Attributes:
        lost: results and changes that were thrown away because a listener was too slow.
    """

    def __init__(self) -> None:
        self._results: _Audience[InspectionResult] = _Audience()
        self._changes: _Audience[Snapshot] = _Audience()
        self._waiting: queue.Queue[Waiting] = queue.Queue(MAX_WAITING)
        self._ending = False
        self._given_up = False
        self.lost = 0
        self._thread = GuardedThread(self._run, name="edge-listeners")
        self._thread.start()

    def on_result(self, listener: Callable[[InspectionResult], None]) -> Cancel:
        """See `Port.on_result`."""
        return self._results.add(listener)

    def on_change(self, listener: Callable[[Snapshot], None]) -> Cancel:
        """See `Port.on_change`."""
        return self._changes.add(listener)

    def tell(self, item: InspectionResult | Snapshot) -> None:
        """Put a result or a change into the queue; never wait."""
        listeners = (
            self._results.listeners
            if isinstance(item, InspectionResult)
            else self._changes.listeners
        )
        if not listeners or self._ending:
            return
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            if self.lost == 0:
                LOG.error(
                    "a listener is too slow: %d results and changes wait; further ones are lost",
                    MAX_WAITING,
                )
            self.lost += 1

    def flush(self, timeout_s: float) -> bool:
        """Wait until listeners have seen everything so far; see `Port.flush`."""
        if self._thread is threading.current_thread() or self._given_up:
            return False
        if not self._thread.is_alive():
            return not self._given_up
        passed = threading.Event()
        limit = time.monotonic() + timeout_s
        try:
            self._waiting.put(passed, timeout=timeout_s)
        except queue.Full:
            return False
        while not passed.wait(min(POLL_S, max(0.0, limit - time.monotonic()))):
            if not self._thread.is_alive():  # it ended with what it had been told
                return not self._given_up
            if time.monotonic() >= limit:
                return False
        return True

    def close(self) -> None:
        """Deliver what is waiting, within two seconds, then stop; a second call does nothing."""
        self._ending = True
        with contextlib.suppress(queue.Full):  # then it does not sleep
            self._waiting.put_nowait(None)
        if self._thread is threading.current_thread():
            return  # a listener closes the station: what waits follows when it returns
        self._thread.join(CLOSE_AFTER_S)
        if self._thread.is_alive() and not self._given_up:
            self._given_up = True
            LOG.error(
                "a listener hangs; %d results and changes that wait are lost", self._waiting.qsize()
            )

    def _run(self) -> None:
        while not self._given_up and not (self._ending and self._waiting.empty()):
            item = self._waiting.get()
            if isinstance(item, InspectionResult):
                self._results.call(item)
            elif isinstance(item, Snapshot):
                self._changes.call(item)
            elif item is not None:
                item.set()
