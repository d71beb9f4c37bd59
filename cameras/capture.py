"""Live capture: a thread drains the camera, the newest frame wins, our own clock decides.

What OpenCV reports is not trusted: `read` returns True for frames that a decoder kept from before
a stall, and blocks as long as its backend likes. So a frame counts only if it came from a read that
did not itself take as long as a stall, and it is handed out only while it is fresh.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType

import numpy as np
import numpy.typing as npt

from cameras.device import Device, Opened
from cameras.errors import CameraError
from cameras.frame import Frame

BACKOFF_S = (0.5, 1.0, 2.0, 3.0)
_JOIN_S = 3.0
_NS = 1_000_000_000
_CATCH_UP_NS = _NS
# A frame that waited longer shows what is no longer there: the next one is waited for.
_MAX_AGE_NS = _NS // 5


class LiveSource:
    """Frames from a camera, newest first; opened at birth, reopened for ever after a failure.

    Args:
        device: how to open it.
        name: what it is called, credentials redacted.
        stall_after: seconds without a frame after which the iteration yields a frame without
            image, and again after each further such time; never an older picture.
        check: what the user can check when it does not answer.

    Raises:
        CameraError: it could not be opened.
    """

    live = True

    def __init__(self, device: Device, *, name: str, stall_after: float, check: str) -> None:
        self.name = name
        self.dropped = 0
        self.length: int | None = None
        self._device = device
        self._stall_ns = int(stall_after * _NS)
        self._check = check
        began = time.monotonic()
        try:
            first = device.open()
        except CameraError as error:
            waited = time.monotonic() - began
            raise CameraError(
                f"{name}: {error} (tried for {waited:.1f} s); check {check}"
            ) from error
        self.rate_hz = first.rate_hz
        self._stop = threading.Event()
        self._fresh = threading.Condition()
        self._slot: Frame | None = None
        self._index = 0
        self._last_ns = time.monotonic_ns()  # when the newest frame came
        self._due_ns = self._last_ns + self._stall_ns  # when a missing one is next reported
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="capture")
        self._reading: Future[None] = self._pool.submit(self._read, first)

    def __iter__(self) -> Iterator[Frame]:
        """Yield fresh frames, and one without image for each `stall_after` without any."""
        while not self._stop.is_set():
            frame = self._next()
            if self._reading.done():
                self._reading.result()  # raises what ended the reading, if anything did
            if frame is None:
                return
            yield frame

    def close(self) -> None:
        """Stop the thread and release the camera, within 3 s; a second call does nothing."""
        self._stop.set()
        with self._fresh:
            self._fresh.notify_all()
        # Not longer: a read that its backend does not end stays behind alone and ends later.
        wait([self._reading], timeout=_JOIN_S)
        self._pool.shutdown(wait=self._reading.done())
        with self._fresh:
            if self._slot is not None:
                self.dropped += 1
                self._slot = None

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self) -> Frame | None:
        """Wait for a fresh frame or for the end of patience; None when closed."""
        with self._fresh:
            while not self._stop.is_set():
                frame, self._slot = self._slot, None
                now = time.monotonic_ns()
                if frame is not None:
                    if now - frame.monotonic_ns <= _MAX_AGE_NS:
                        return frame
                    self.dropped += 1
                left = max(self._due_ns, self._last_ns + self._stall_ns) - now
                if left <= 0:
                    return self._missing()
                self._fresh.wait(left / _NS)
        return None

    def _missing(self) -> Frame:
        now = time.monotonic_ns()
        self._due_ns = now + self._stall_ns
        silent = (now - self._last_ns) / _NS
        reason = f"{self.name}: no frame for {silent:.1f} s; check {self._check}"
        return self._numbered(None, reason)

    def _numbered(self, image: npt.NDArray[np.uint8] | None, reason: str = "") -> Frame:
        index, self._index = self._index, self._index + 1
        return Frame(self.name, index, time.time_ns(), time.monotonic_ns(), image, reason)

    def _read(self, capture: Opened | None) -> None:
        """Run in the thread: publish what a connection delivers, then connect again, for ever."""
        attempt = 0
        while not self._stop.is_set():
            if capture is not None:
                try:
                    delivered = self._drain(capture)
                finally:
                    capture.close()
                attempt = 0 if delivered else attempt
            if not self._stop.wait(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]):
                attempt += 1
                try:
                    capture = self._device.open()
                except CameraError:
                    capture = None

    def _drain(self, capture: Opened) -> bool:
        """Publish pictures until the connection is lost; tell whether there was any.

        Opening collects pictures for up to seconds before it returns. They are old and come at
        once: they are counted as dropped until a read has to wait for the camera.
        """
        wait_ns = _NS / (2 * (capture.rate_hz or 30.0))
        opened_ns = time.monotonic_ns()
        behind, delivered = True, False
        while not self._stop.is_set():
            began = time.monotonic_ns()
            image = capture.read()
            now = time.monotonic_ns()
            # After a stall both the decoder's rest and what queued up on the way are old: the
            # connection is given up even when the read says True.
            if image is None or now - began >= self._stall_ns:
                break
            if behind and now - began < wait_ns and now - opened_ns < _CATCH_UP_NS:
                self._discard()
                continue
            behind, delivered = False, True
            self._publish(image)
        return delivered

    def _discard(self) -> None:
        with self._fresh:
            self._index += 1
            self.dropped += 1

    def _publish(self, image: npt.NDArray[np.uint8]) -> None:
        with self._fresh:
            if self._slot is not None:
                self.dropped += 1
            self._slot = self._numbered(image)
            self._last_ns = self._slot.monotonic_ns
            self._fresh.notify_all()
