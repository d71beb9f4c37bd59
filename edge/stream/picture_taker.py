"""The first picture after each trigger, from a camera that is watched all the time, or from files.

Triggered mode and a PLC's station take their pictures here.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager

from cameras.errors import CameraError
from cameras.frame import Frame
from cameras.source import Source
from edge.health.checks import ImageChecks
from edge.health.frame_checker import FrameChecker
from edge.stream.reopening import pause_after
from process.threads import GuardedThread

LOG = logging.getLogger("edge.stream.triggered")
CLOSE_S = 3.0
_NS_PER_MS = 1_000_000


class NoMorePicturesError(CameraError):
    """The source has ended; it did not fail."""


class PictureTaker(AbstractContextManager["PictureTaker"]):
    """Gives each trigger the first picture that was taken after it, and no picture to two triggers.

    A live camera is read all the time, in a thread: what it gives is new, and a picture that no
    longer changes is known before the next trigger. (Two pictures a part would prove nothing.)
    Files are read when a trigger asks for one. No picture is kept that nobody asked for: it lies in
    one of a few places that the camera writes to.

    Args:
        source: open; closed with this object.
        health: of the inspector at work; see `FrameChecker`.
        settle_ms: a live picture counts from so long after its trigger: a camera's pictures come
            later than they were taken.
        reopen: opens a live source again that has failed or ended, after growing pauses and for
            ever; until there is one, requests fail. None: a failure is for good.
    """

    def __init__(
        self,
        source: Source,
        health: Callable[[], ImageChecks],
        *,
        settle_ms: float = 0.0,
        reopen: Callable[[], Source] | None = None,
    ) -> None:
        self.live = source.live
        self._source = source
        self._health = health
        self._reopen = reopen if source.live else None
        self._failures = 0  # since the last picture
        self._checker = FrameChecker(health, source)
        self._settle_ns = int(settle_ms * _NS_PER_MS)
        self._changed = threading.Condition()
        self._requests: deque[tuple[int, Future[Frame]]] = deque()  # each with its earliest time
        self._closed = False
        self._end: tuple[type[CameraError], str] | None = None  # why no more pictures come
        self._thread = GuardedThread(self._run, name="edge-pictures")
        self._thread.start()

    def request(self, triggered_ns: int) -> Future[Frame]:
        """Ask for the picture of a trigger; returns at once, any thread may call.

        Args:
            triggered_ns: monotonic.

        Returns:
            Of the picture, or of a frame without an image: the camera is silent, or its picture is
            no good. It raises NoMorePicturesError at the end of the source, and CameraError while
            the source has failed. Cancel it when it is no longer wanted.
        """
        picture: Future[Frame] = Future()
        with self._changed:
            self._requests.append((triggered_ns + self._settle_ns, picture))
            end = self._end
            self._changed.notify_all()
        if end is not None:
            self._fail_requests(*end)
        return picture

    @property
    def trouble(self) -> str:
        """What the source says is wrong although it works; empty if nothing, or it cannot say."""
        return str(getattr(self._source, "trouble", ""))

    def close(self) -> None:
        """Release the source and end the thread; a second call does nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            source = self._source
            self._changed.notify_all()
        source.close()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            LOG.warning("%s: did not stop; abandoning its thread", self._source.name)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        kind, reason = self._deliver()
        while self._reopen is not None and not self._closed:
            self._refuse(CameraError, f"{reason}; opening it again")
            try:
                if self._open_again(self._reopen):
                    kind, reason = self._deliver()
            except Exception as error:  # noqa: BLE001  # the border: see there
                kind, reason = CameraError, self._reason_from_error(error)
        self._refuse(kind, reason)

    def _deliver(self) -> tuple[type[CameraError], str]:
        """Give requests their pictures until the source ends; return why it did."""
        try:
            for frame in self._frames():
                self._failures = self._failures if frame.image is None else 0
                self._offer(self._checker.check(frame) if self.live else frame)
        except Exception as error:  # noqa: BLE001  # the border: see there
            return CameraError, self._reason_from_error(error)
        return NoMorePicturesError, f"{self._source.name}: there are no more pictures"

    def _reason_from_error(self, error: Exception) -> str:
        if isinstance(error, CameraError):
            return str(error)
        # The border: a mistake in a source must not leave triggers without an answer.
        LOG.error("%s: failed", self._source.name, exc_info=error)
        return f"{self._source.name}: {type(error).__name__}: {error}"

    def _open_again(self, reopen: Callable[[], Source]) -> bool:
        """Wait, then open the source anew; False where this object was closed meanwhile."""
        pause_s = pause_after(self._failures)
        self._failures += 1
        self._source.close()
        with self._changed:
            if self._changed.wait_for(lambda: self._closed, pause_s):
                return False
        source = reopen()
        with self._changed:
            if not self._closed:
                self._source, self._end = source, None
                self._checker = FrameChecker(self._health, source)
                return True
        source.close()
        return False

    def _refuse(self, kind: type[CameraError], reason: str) -> None:
        """Let requests fail, those that wait and those to come."""
        with self._changed:
            self._end = (kind, reason)
        self._fail_requests(kind, reason)

    def _frames(self) -> Iterator[Frame]:
        frames = iter(self._source)
        while self.live or self._await_request():
            frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _await_request(self) -> bool:
        """Wait until somebody asks; False when this object is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_asked() or self._closed)
            return not self._closed

    def _is_asked(self) -> bool:
        """Whether a request is still wanted; forgets those before it that are not."""
        while self._requests and self._requests[0][1].cancelled():
            self._requests.popleft()
        return bool(self._requests)

    def _offer(self, frame: Frame) -> None:
        """Give a picture to the trigger that it is of; a camera's silence is everybody's."""
        is_silence = self.live and frame.image is None
        taken_ns = frame.monotonic_ns if self.live and not is_silence else math.inf
        while (picture := self._take_request(taken_ns)) is not None:
            if picture.set_running_or_notify_cancel():
                picture.set_result(frame)
                if not is_silence:
                    return

    def _fail_requests(self, kind: type[CameraError], reason: str) -> None:
        while (picture := self._take_request()) is not None:
            if picture.set_running_or_notify_cancel():
                # One for each: an error that is raised again and again grows its traceback.
                picture.set_exception(kind(reason))

    def _take_request(self, taken_ns: float = math.inf) -> Future[Frame] | None:
        """The first request for which a picture of this time will do."""
        with self._changed:
            if self._is_asked() and self._requests[0][0] <= taken_ns:
                return self._requests.popleft()[1]
            return None
