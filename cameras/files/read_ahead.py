"""Reading ahead in a thread, for sources that wait: no frame is ever dropped."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager

from cameras.errors import CameraError
from cameras.frame import Frame
from process.forks import Birthplace

_AHEAD = 8
_LOW = 1  # only then is reading taken up again: a thread that wakes for each frame slows the engine
_JOIN_S = 3.0


class ReadAhead(AbstractContextManager["ReadAhead"]):
    """A source whose frames are read ahead of their use by a thread; it can be read once.

    Args:
        name: what the user named.
        frames: reads the frames one after the other; its `finally` releases what it holds.
        rate_hz: nominal frames per second; None for images.
    """

    live = False
    dropped = 0

    def __init__(
        self, name: str, frames: Generator[Frame, None, None], *, rate_hz: float | None
    ) -> None:
        self.name = name
        self.rate_hz = rate_hz
        self._frames: Generator[Frame, None, None] | None = frames
        self._ahead: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._has_ended = self._is_closed = False
        self._reading: Future[None] | None = None
        self._birthplace = Birthplace()

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame once, in order; the reading starts here.

        Raises:
            CameraError: in a process that was forked meanwhile: the reading stayed behind.
        """
        frames, self._frames = self._frames, None
        if frames is None:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
            self._reading = pool.submit(self._read, frames)
            try:
                while (frame := self._take()) is not None:
                    yield frame
            finally:
                self._stop()
        self._reading.result()  # raises what ended the reading, if anything did

    def close(self) -> None:
        """End the reading and release the files; a second call does nothing."""
        if self._birthplace.why_not_here():
            return
        self._stop()
        self._frames = None
        if self._reading is not None:
            wait([self._reading], timeout=_JOIN_S)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop(self) -> None:
        if self._birthplace.why_not_here():  # whoever held the lock did not come along
            return
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _take(self) -> Frame | None:
        elsewhere = self._birthplace.why_not_here()
        if elsewhere:
            raise CameraError(f"{self.name}: {elsewhere}")
        with self._changed:
            self._changed.wait_for(lambda: self._ahead or self._has_ended or self._is_closed)
            if self._is_closed or not self._ahead:
                return None
            frame = self._ahead.popleft()
            if len(self._ahead) <= _LOW:
                self._changed.notify_all()
            return frame

    def _read(self, frames: Generator[Frame, None, None]) -> None:
        try:
            for frame in frames:
                with self._changed:
                    self._ahead.append(frame)
                    self._changed.notify_all()
                    if len(self._ahead) >= _AHEAD:
                        self._changed.wait_for(lambda: len(self._ahead) <= _LOW or self._is_closed)
                    if self._is_closed:
                        return
        finally:
            frames.close()
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()
