"""Reading ahead in a thread, for sources that wait: no frame is ever dropped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager

from cameras.frame import Frame

_AHEAD = 8
_LOW = 1  # only then is reading taken up again: a thread that wakes for each frame slows the engine
_POLL_S = 0.1
_JOIN_S = 3.0


class ReadAhead(AbstractContextManager["ReadAhead"]):
    """A source whose frames are read ahead of their use by a thread; it can be read once.

    Args:
        name: what the user named.
        frames: reads the frames one after the other; its `finally` releases what it holds.
        rate_hz: nominal frames per second; None for images.
        length: number of frames, None when unknown.
    """

    live = False

    def __init__(
        self,
        name: str,
        frames: Generator[Frame, None, None],
        *,
        rate_hz: float | None,
        length: int | None,
    ) -> None:
        self.name = name
        self.dropped = 0
        self.rate_hz = rate_hz
        self.length = length
        self._frames: Generator[Frame, None, None] | None = frames
        self._queue: queue.Queue[Frame | None] = queue.Queue(_AHEAD)
        self._room = threading.Event()
        self._room.set()
        self._stop = threading.Event()
        self._reading: Future[None] | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame once, in order; the reading starts here."""
        frames, self._frames = self._frames, None
        if frames is None:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
            self._reading = pool.submit(self._read, frames)
            try:
                while (frame := self._next()) is not None:
                    yield frame
            finally:
                self._stop.set()
        self._reading.result()  # raises what ended the reading, if anything did

    def close(self) -> None:
        """End the reading and release the files; a second call does nothing."""
        self._stop.set()
        self._frames = None
        if self._reading is not None:
            wait([self._reading], timeout=_JOIN_S)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> Frame | None:
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if self._queue.qsize() <= _LOW:
                self._room.set()
            return item
        return None

    def _read(self, frames: Generator[Frame, None, None]) -> None:
        try:
            for frame in frames:
                if not self._put(frame):
                    return
        finally:
            frames.close()
            self._put(None)

    def _put(self, item: Frame | None) -> bool:
        while not self._stop.is_set():
            if not self._room.wait(_POLL_S):
                continue
            try:
                self._queue.put_nowait(item)
            except queue.Full:
                self._room.clear()
                if self._queue.qsize() <= _LOW:  # emptied between the two lines above
                    self._room.set()
                continue
            return True
        return False
