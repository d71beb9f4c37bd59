"""Threads that hand results to sinks, so that nothing waits for a disk, whatever it does.

A sink that must get every result has a thread of its own; those that draw share one, since they
share what is drawn. A sink that is slow, hangs or has a mistake holds up no other one, and a live
camera not at all: what finds no room is counted.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from cameras.closing import Closing
from edge.result import Result
from edge.sinks.files import Sink

RECORDS_WAITING = 10_000
PICTURES_WAITING = 8
DRAIN_S = 2.0
STUCK_S = 30.0
_POLL_S = 0.05
_log = logging.getLogger("edge.sinks.files")


class Writers(Closing):
    """Sinks in threads behind bounded queues; the end of `with` writes what waits.

    Args:
        sinks: each gets every result, in order, from one thread. One with a method ``flush()`` is
            told when nothing more waits. The caller closes them.
        live: whether a result that finds no room is left out and counted, and a sink that raises
            is too; otherwise `put` waits, and raises.
        stop: once it is set, sinks are waited for as if `live`.
        drain_s: most seconds that the end waits then for what is not yet written; otherwise it
            waits as long as a sink writes anything within 30 s.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        live: bool,
        stop: threading.Event | None = None,
        drain_s: float = DRAIN_S,
    ) -> None:
        stop = stop or threading.Event()
        self._drain_s = drain_s
        self._lanes = [_Lane(group, live=live, stop=stop) for group in _lanes(sinks)]

    @property
    def dropped(self) -> int:
        """Results that were not drawn for lack of time."""
        return sum(lane.dropped for lane in self._lanes if not lane.records)

    @property
    def lost(self) -> int:
        """Results that a sink which must get them all never got."""
        return sum(lane.dropped for lane in self._lanes if lane.records)

    def put(self, result: Result) -> None:
        """Queue a result for each sink.

        Raises:
            Exception: not live: what a sink raised, instead of counting it as lost.
        """
        bare: Result | None = None
        for lane in self._lanes:
            if not lane.records:
                lane.put(result)
                continue
            bare = bare or dataclasses.replace(result, image=None, anomaly_map=None)
            lane.put(bare)

    def close(self) -> None:
        """Write what waits, in the time there is; a second call does nothing.

        Raises:
            Exception: not live: what a sink raised.
        """
        for lane in self._lanes:
            lane.end()
        deadline = time.monotonic() + self._drain_s
        for lane in self._lanes:
            lane.join(deadline)
        for lane in self._lanes:
            lane.raise_failure()


def _lanes(sinks: Sequence[Sink]) -> Iterator[list[Sink]]:
    """Sinks that share a thread."""
    drawing = []
    for sink in sinks:
        if getattr(sink, "alone", sink.lossless):
            yield [sink]
        else:
            drawing.append(sink)
    if drawing:
        yield drawing


class _Lane:
    """Sinks, their thread, and what waits for it."""

    def __init__(self, sinks: list[Sink], *, live: bool, stop: threading.Event) -> None:
        self.records = sinks[0].lossless
        self.dropped = 0
        self._sinks = sinks
        self._live = live
        self._stop = stop
        self._most = RECORDS_WAITING if self.records else PICTURES_WAITING
        self._waiting: deque[Result] = deque()
        self._changed = threading.Condition()
        self._wrote_s = time.monotonic()
        self._ended = False
        self._lacking = False
        self._failure: Exception | None = None
        # A daemon: one that hangs in a dead disk must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="edge-sinks", daemon=True)
        self._thread.start()

    def put(self, result: Result) -> None:
        with self._changed:
            self._await_room()
            if self._failure is not None:
                raise self._failure
            if len(self._waiting) >= self._most:
                self._drop(1, f"{self._most} wait already")
                return
            self._lacking = False
            self._waiting.append(result)
            self._changed.notify_all()

    def end(self) -> None:
        """Let the thread end once nothing waits."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the thread; what it does not write in time is lost."""
        while self._thread.is_alive() and self._patient(deadline):
            self._thread.join(_POLL_S)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
            if left:
                self._drop(left, "it does not write in time and is left to itself")

    def raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _patient(self, deadline: float) -> bool:
        now = time.monotonic()
        if self._live or self._stop.is_set():
            return now < deadline
        return now < deadline or now - self._wrote_s < STUCK_S

    def _await_room(self) -> None:
        """Files wait for a sink that writes, however slowly; a camera never does."""
        if self._live:
            return
        begun = time.monotonic()
        while len(self._waiting) >= self._most and self._failure is None:
            since = max(begun, self._wrote_s)
            if time.monotonic() - since > (DRAIN_S if self._stop.is_set() else STUCK_S):
                return
            self._changed.wait(_POLL_S)

    def _drop(self, count: int, why: str) -> None:
        """Count what is lost; what is lost of records is said, once per outage."""
        self._count(count)
        if self.records and not self._lacking:
            name = type(self._sinks[0]).__name__
            _log.error("%s: results are lost, the inspection goes on: %s", name, why)
        self._lacking = True

    def _count(self, missed: int) -> None:
        self.dropped += missed
        for sink in self._sinks:
            if hasattr(sink, "missed"):
                sink.missed += missed

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._ended):
                    self._changed.wait()
                if not self._waiting:
                    return
                result = self._waiting[0]
            for sink in self._sinks:
                self._guarded(sink, partial(sink.write, result))
            del result  # its picture lies in the camera's memory; the next may be long in coming
            self._done()
            if not self._waiting:
                for sink in self._sinks:
                    self._guarded(sink, getattr(sink, "flush", None))

    def _done(self) -> None:
        with self._changed:
            if self._waiting:  # not when it was given up meanwhile
                self._waiting.popleft()
            self._wrote_s = time.monotonic()
            self._changed.notify_all()

    def _guarded(self, sink: Sink, work: Callable[[], None] | None) -> None:
        if work is None:
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001  # the border: one sink's mistake is not the line's
            # Told once per outage: a mistake comes back with every result.
            level = logging.DEBUG if self._lacking else logging.ERROR
            _log.log(level, "%s failed", type(sink).__name__, exc_info=True)
            with self._changed:
                self._count(1)
                self._lacking = True
                if not self._live:
                    self._failure = self._failure or error
