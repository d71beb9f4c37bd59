"""A thread that hands results to sinks, so that inference does not wait for the disk."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from edge.result import Result
from edge.sinks import Sink

_POLL_S = 0.1


class Writer:
    """Sinks in one thread behind a bounded queue; the end of `with` waits until all is written.

    Args:
        sinks: each gets every result, in order.
        waiting: results that may wait.
        drops: whether a result that finds no room is left out and counted in `dropped`;
            otherwise `put` waits.
    """

    def __init__(self, sinks: Sequence[Sink], *, waiting: int, drops: bool = False) -> None:
        self.sinks = list(sinks)
        self.dropped = 0
        self._drops = drops
        self._queue: queue.Queue[Result | None] = queue.Queue(waiting)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sinks")
        self._writing: Future[None] = self._pool.submit(self._write)

    def put(self, result: Result) -> None:
        """Queue a result.

        Raises:
            Exception: what a sink raised, instead of counting it as lost.
        """
        if not self.sinks:
            return
        if not self._drops:
            self._put(result)
            return
        try:
            self._queue.put_nowait(result)
        except queue.Full:
            self._raise_failure()
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued and end the thread; a second call does nothing."""
        if not self._writing.done():
            self._put(None)
        self._pool.shutdown()
        self._raise_failure()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _put(self, item: Result | None) -> None:
        while True:
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                self._raise_failure()
                continue
            return

    def _raise_failure(self) -> None:
        if self._writing.done():
            self._writing.result()

    def _write(self) -> None:
        while (result := self._queue.get()) is not None:
            for sink in self.sinks:
                sink.write(result)
