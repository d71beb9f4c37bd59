"""Pictures that a host brings: a bounded queue between those who deliver and the one who inspects.

Every picture is handed out, in the order of arrival. One that finds the queue full, or that cannot
be decoded, is handed out as a frame without image, so that its part gets ERROR and not silence.
With ``newest`` only the latest counts, as with a camera.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cameras.errors import CameraError, ImageError
from cameras.frame import Frame
from cameras.image_files import image_from_bytes
from cameras.options import OpenOptions
from process.forks import Birthplace

MAX_BYTES = 64 << 20
"""Of one picture that a host brings: an uncompressed one of 20 megapixels."""
_NS = 1_000_000_000
_MAX_AGE_NS = _NS // 5
_MAX_HELD_BYTES = 1 << 30  # decoded, in the queue
_MAX_REASONS = 1000


class InboxFullError(Exception):
    """The picture came too fast; its frame has no image and says so."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a picture began to arrive.

    Attributes:
        wall_ns: Unix time in ns.
        monotonic_ns: monotonic time in ns.
    """

    wall_ns: int
    monotonic_ns: int

    @classmethod
    def now(cls) -> Arrival:
        """Return this moment."""
        return cls(time.time_ns(), time.monotonic_ns())


@dataclass(frozen=True, slots=True)
class Rules:
    """How pictures wait.

    Attributes:
        newest: whether only the latest counts, as with a camera.
        waiting: so many may wait.
        stall_after: with `newest`: seconds without a picture after which a frame says so.
        max_bytes: of one encoded picture.
        bit_depth: of the values in 16-bit pictures; None is all 16.
    """

    newest: bool
    waiting: int
    stall_after: float
    max_bytes: int
    bit_depth: int | None = None


def rules_from_options(options: OpenOptions) -> Rules:
    """Return what the options ask for: ``newest``, ``queue``, ``max_mib``.

    Raises:
        SourceError: a value that makes no sense.
    """
    newest = options.flag("newest") or False
    waiting = options.whole("queue", low=1, high=1000) or 8
    mib = options.number("max_mib", low=0.001, high=1024)
    max_bytes = MAX_BYTES if mib is None else int(mib * (1 << 20))
    waiting = 1 if newest else waiting
    return Rules(newest, waiting, options.stall_after, max_bytes, options.bit_depth)


class PushServer(Protocol):
    """What those who deliver connect to."""

    @property
    def trouble(self) -> str:
        """What keeps them from delivering; empty if nothing does."""
        ...

    def end(self) -> None:
        """Accept nothing any more."""
        ...


class Inbox(AbstractContextManager["Inbox"]):
    """The queue; see the module. A source's `Source` half: what delivers is `accept`.

    Args:
        name: of the source, credentials redacted.
        rules: how pictures wait.
    """

    rate_hz: float | None = None

    def __init__(self, name: str, rules: Rules) -> None:
        self.name = name
        self.live = rules.newest
        self.dropped = 0
        self.rules = rules
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._held_bytes = 0
        self._index = 0
        self._birthplace = Birthplace()
        self._closed = False
        self._server: PushServer | None = None
        self._heard_ns = self._silence_reported_ns = time.monotonic_ns()
        self._overflow = f"{name}: {rules.waiting} pictures are waiting already; send more slowly"

    def served_by(self, server: PushServer) -> Inbox:
        """Say what those who deliver connect to; `close` ends it once."""
        self._server = server
        return self

    @property
    def trouble(self) -> str:
        """What keeps hosts from delivering; empty if nothing does."""
        trouble = "" if self._server is None else self._server.trouble
        return f"{self.name}: {trouble}" if trouble else ""

    def accept(self, data: bytes, arrival: Arrival) -> int:
        """Decode a picture and queue it; any thread. Return the number of its frame.

        Raises:
            ImageError: it cannot be decoded; its frame has no image and says so.
            InboxFullError: too many wait; its frame has no image and says so.
        """
        with self._changed:
            full = self._is_full()  # decoding costs; the answer is known
        image, reason = None, self._overflow
        if not full:
            try:
                image, reason = image_from_bytes(data, bit_depth=self.rules.bit_depth), ""
            except ImageError as error:
                self._put(arrival, None, f"{self.name}: a picture that came in: {error}")
                raise
        index, taken = self._put(arrival, image, reason)
        if not taken:
            raise InboxFullError(self._overflow)
        return index

    def refuse(self, reason: str) -> int:
        """Queue a frame without image for a picture that could not be taken in."""
        return self._put(Arrival.now(), None, f"{self.name}: {reason}")[0]

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames as they come, until `close`.

        Raises:
            CameraError: in a process that was forked meanwhile: pictures reach the other.
        """
        while (frame := self._next()) is not None:
            yield frame

    def close(self) -> None:
        """End the iteration and those who deliver; a second call does nothing."""
        if self._birthplace.why_not_here():
            return
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self.dropped += len(self._frames)
            self._frames.clear()
            self._changed.notify_all()
        if self._server is not None:
            self._server.end()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_full(self) -> bool:
        """Whether no further picture may wait; holds the lock."""
        if self.live:
            return False
        pictures = sum(frame.image is not None for frame in self._frames)
        return pictures >= self.rules.waiting or self._held_bytes >= _MAX_HELD_BYTES

    def _put(
        self, arrival: Arrival, image: npt.NDArray[np.uint8] | None, reason: str
    ) -> tuple[int, bool]:
        """Queue a frame; its number, and whether its picture was taken."""
        with self._changed:
            if image is not None and self._is_full():
                image, reason = None, self._overflow
            index, self._index = self._index, self._index + 1
            if self._closed or len(self._frames) >= self.rules.waiting + _MAX_REASONS:
                self.dropped += 1
                return index, False
            if self.live:
                self.dropped += len(self._frames)
                self._frames.clear()
                self._held_bytes = 0
            self._heard_ns = time.monotonic_ns()
            self._held_bytes += 0 if image is None else image.nbytes
            self._frames.append(
                Frame(self.name, index, arrival.wall_ns, arrival.monotonic_ns, image, reason)
            )
            self._changed.notify()
            return index, image is not None

    def _next(self) -> Frame | None:
        elsewhere = self._birthplace.why_not_here()
        if elsewhere:
            raise CameraError(f"{self.name}: {elsewhere}")
        with self._changed:
            while not self._closed:
                if self._frames:
                    frame = self._frames.popleft()
                    self._held_bytes -= 0 if frame.image is None else frame.image.nbytes
                    if not self.live or time.monotonic_ns() - frame.monotonic_ns <= _MAX_AGE_NS:
                        return frame
                    self.dropped += 1
                if not self.live:
                    self._changed.wait()
                    continue
                left_ns = max(self._heard_ns, self._silence_reported_ns) - time.monotonic_ns()
                left_ns += int(self.rules.stall_after * _NS)
                if left_ns <= 0:
                    return self._report_silence()
                self._changed.wait(left_ns / _NS)
        return None

    def _report_silence(self) -> Frame:
        """A frame that says for how long none has come; holds the lock."""
        now = Arrival.now()
        self._silence_reported_ns = now.monotonic_ns
        silent_s = (now.monotonic_ns - self._heard_ns) / _NS
        reason = f"{self.name}: no picture for {silent_s:.1f} s; check the host that sends them"
        index, self._index = self._index, self._index + 1
        return Frame(self.name, index, now.wall_ns, now.monotonic_ns, None, reason)
