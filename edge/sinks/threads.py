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
from contextlib import AbstractContextManager
from functools import partial

from edge.result import Result
from edge.sinks.sink import Sink
from process.threads import GuardedThread

MAX_RECORDS = 10_000
MAX_PICTURES = 8
DRAIN_S = 2.0
STUCK_S = 30.0
_POLL_S = 0.05
_log = logging.getLogger("edge.sinks")


class SinkThreads(AbstractContextManager["SinkThreads"]):
    """Sinks in threads behind bounded queues; the end of `with` writes what waits.

    Args:
        sinks: each gets every result, in order, from one thread. One with a method ``flush()`` is
            told when nothing more waits. The caller closes them.
        live: whether a result that finds no room is left out and counted, and a sink that raises
            is too; otherwise `put` waits, and raises.
        stop: once it is set, sinks are waited for as if `live`: the end waits 2 s for what is not
            yet written; otherwise as long as a sink writes anything within 30 s.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        live: bool,
        stop: threading.Event | None = None,
    ) -> None:
        stop = stop or threading.Event()
        self._threads = [_SinkThread(group, live=live, stop=stop) for group in _group(sinks)]

    @property
    def dropped(self) -> int:
        """Results that were not drawn for lack of time."""
        return sum(thread.dropped for thread in self._threads if not thread.lossless)

    @property
    def lost(self) -> int:
        """Results that a sink which must get them all never got."""
        return sum(thread.dropped for thread in self._threads if thread.lossless)

    def put(self, result: Result) -> None:
        """Queue a result for each sink.

        Raises:
            Exception: not live: what a sink raised, instead of counting it as lost.
        """
        bare: Result | None = None
        for thread in self._threads:
            if not thread.lossless:
                thread.put(result)
                continue
            bare = bare or dataclasses.replace(result, image=None, anomaly_map=None)
            thread.put(bare)

    def close(self) -> None:
        """Write what waits, in the time there is; a second call does nothing.

        Raises:
            Exception: not live: what a sink raised.
        """
        for thread in self._threads:
            thread.end()
        deadline = time.monotonic() + DRAIN_S
        for thread in self._threads:
            thread.join(deadline)
        for thread in self._threads:
            thread.raise_failure()

    def __exit__(self, *_: object) -> None:
        self.close()


def _group(sinks: Sequence[Sink]) -> Iterator[list[Sink]]:
    """Sinks that share a thread."""
    drawing = []
    for sink in sinks:
        if getattr(sink, "alone", sink.lossless):
            yield [sink]
        else:
            drawing.append(sink)
    if drawing:
        yield drawing


class _SinkThread:
    """Sinks, their thread, and what waits for it."""

    def __init__(self, sinks: list[Sink], *, live: bool, stop: threading.Event) -> None:
        self.lossless = sinks[0].lossless
        self.dropped = 0
        self._sinks = sinks
        self._live = live
        self._stop = stop
        self._max_waiting = MAX_RECORDS if self.lossless else MAX_PICTURES
        self._waiting: deque[Result] = deque()
        self._changed = threading.Condition()
        self._wrote_s = time.monotonic()
        self._ended = False
        self._in_hand = False  # whether the first one that waits is being written
        self._overflowing = False
        self._failure: Exception | None = None
        # A daemon: one that hangs in a dead disk must not keep the process from ending.
        self._thread = GuardedThread(self._run, name="edge-sinks", on_failure=self._lose_one)
        self._thread.start()

    def put(self, result: Result) -> None:
        with self._changed:
            self._await_room()
            if self._failure is not None:
                raise self._failure
            if len(self._waiting) >= self._max_waiting:
                self._drop(1, f"{self._max_waiting} are waiting already")
                return
            self._overflowing = False
            self._waiting.append(result)
            self._changed.notify_all()

    def end(self) -> None:
        """Let the thread end once nothing waits."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the thread; what it does not write in time is lost."""
        while self._thread.is_alive() and self._may_wait(deadline):
            self._thread.join(_POLL_S)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
            if left:
                self._drop(left, "it did not write them in time; abandoning its thread")

    def raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _may_wait(self, deadline: float) -> bool:
        now = time.monotonic()
        if self._live or self._stop.is_set():
            return now < deadline
        return now < deadline or now - self._wrote_s < STUCK_S

    def _await_room(self) -> None:
        """Files wait for a sink that writes, however slowly; a camera never does."""
        if self._live:
            return
        begun = time.monotonic()
        while len(self._waiting) >= self._max_waiting and self._failure is None:
            since = max(begun, self._wrote_s)
            if time.monotonic() - since > (DRAIN_S if self._stop.is_set() else STUCK_S):
                return
            self._changed.wait(_POLL_S)

    def _drop(self, count: int, why: str) -> None:
        """Count what is dropped; log it once per outage, for a sink that must get everything."""
        self._count(count, self._sinks)
        if self.lossless and not self._overflowing:
            where = self._sinks[0].losses.where
            _log.error("%s: results are being dropped; inspection continues: %s", where, why)
        self._overflowing = True

    def _count(self, dropped: int, sinks: Sequence[Sink]) -> None:
        self.dropped += dropped
        for sink in sinks:
            sink.losses.skip(dropped)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._ended):
                    self._changed.wait()
                if not self._waiting:
                    return
                result, self._in_hand = self._waiting[0], True
            for sink in self._sinks:
                self._guard(sink, partial(sink.write, result))
            del result  # its picture lies in the camera's memory; the next may be long in coming
            self._note_done()
            if not self._waiting:
                for sink in self._sinks:
                    self._guard(sink, getattr(sink, "flush", None))

    def _lose_one(self, _: BaseException) -> None:
        """Count what was in hand when the thread failed, and go on with the next."""
        if self._in_hand:
            self._count(1, self._sinks)
            self._note_done()

    def _note_done(self) -> None:
        with self._changed:
            self._in_hand = False
            if self._waiting:  # not when it was given up meanwhile
                self._waiting.popleft()
            self._wrote_s = time.monotonic()
            self._changed.notify_all()

    def _guard(self, sink: Sink, work: Callable[[], None] | None) -> None:
        """Do a sink's work, whatever it raises."""
        if work is None:
            return
        sink.losses.writing_since_s = time.monotonic()
        try:
            work()
        except Exception as error:  # noqa: BLE001  # the border: one sink's mistake is not the line's
            # Logged once per outage: a mistake comes back with every result.
            level = logging.DEBUG if self._overflowing else logging.ERROR
            _log.log(level, "%s: %s failed", sink.losses.where, type(sink).__name__, exc_info=True)
            with self._changed:
                self._count(1, [sink])
                self._overflowing = True
                if not self._live:
                    self._failure = self._failure or error
        finally:
            sink.losses.writing_since_s = None
