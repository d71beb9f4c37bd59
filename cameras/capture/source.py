"""Live capture: a process drains the camera, the newest frame wins, our own clock decides.

The pictures are in shared memory (`cameras.capture.ring`), where the process that captures wrote
them (`cameras.capture.child`); it is replaced when it hangs or dies (`cameras.capture.supervisor`).
Here is what the rest sees: frames that are fresh, and the truth when there are none.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt

from cameras.capture.device import Device, json_from_device
from cameras.capture.messages import CaptureTask
from cameras.capture.ring import Stamp
from cameras.capture.supervisor import CaptureProcess
from cameras.errors import CameraError
from cameras.frame import Frame
from process.forks import Birthplace

_NS = 1_000_000_000
# A frame that waited longer shows what is no longer there: the next one is waited for.
_MAX_AGE_NS = _NS // 5
# A stall is known within `stall_after`: what it takes to say so is part of it.
_SOONER = 0.95


class LiveSource(AbstractContextManager["LiveSource"]):
    """Frames from a camera, newest first; opened at birth, reopened for ever after a failure.

    A frame's image is (H, W, 3) uint8 BGR in shared memory, read-only. It stays as it is for as
    long as any array of it is kept, also after `close`; while many are kept, further ones are
    copies, so that the camera never waits.

    Args:
        device: how to open it.
        name: what it is called, credentials redacted.
        stall_after: seconds without a frame within which the iteration yields a frame without
            image, and again after each further such time; never an older picture.
        check: what the user can check when it does not answer.
        repeats: whether it plays the same pictures over and over, on purpose.

    Raises:
        CameraError: it could not be opened.
    """

    live = True

    def __init__(
        self, device: Device, *, name: str, stall_after: float, check: str, repeats: bool = False
    ) -> None:
        self.name = name
        self.repeats = repeats
        self.rate_hz: float | None = None
        self._stall_ns = int(stall_after * _NS)
        self._check = check
        self._stop = threading.Event()
        self._birthplace = Birthplace()
        self._taking = threading.Lock()
        self._used = self._missed = self._captured = 0
        self._newest = -1  # number of the frame that was taken last
        self._last_ns = self._due_ns = 0
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        task = CaptureTask(json_from_device(device), self._stall_ns)
        self._process = CaptureProcess(task, name=name, bell=self._bell)
        try:
            self._await_camera()
        except BaseException:
            self.close()
            raise

    @property
    def dropped(self) -> int:
        """Frames that were captured and never handed out, so far."""
        if self._stop.is_set():
            return self._captured - self._used
        captured = self._process.child.heartbeat.count
        may_come = captured - 1 > self._newest  # the newest may still be handed out
        return max(0, captured - self._used - may_come)

    @property
    def restarts(self) -> int:
        """How often the process that captures had to be replaced."""
        return self._process.child.restarts

    @property
    def process_id(self) -> int | None:
        """Of the process that captures; None while it is being replaced."""
        return self._process.child.process_id

    def __iter__(self) -> Iterator[Frame]:
        """Yield fresh frames, and one without image for each `stall_after` without any."""
        while (frame := self.take()) is not None:
            yield frame

    def take(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for a fresh frame, or for one without image that says why there is none.

        Args:
            timeout_s: not longer than this; 0 = only look.

        Returns:
            The frame; None when the source is closed, or nothing came in time.

        Raises:
            CameraError: in a process that was forked meanwhile: the camera is the other's.
        """
        elsewhere = self._birthplace.why_not_here()
        if elsewhere:
            raise CameraError(f"{self.name}: {elsewhere}")
        with self._taking:
            end_ns = None if timeout_s is None else time.monotonic_ns() + int(timeout_s * _NS)
            while not self._stop.is_set():
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
                now = time.monotonic_ns()
                if (frame := self._take_fresh(now)) is not None:
                    return frame
                until_ns = int(max(self._due_ns, self._last_ns + self._stall_ns * _SOONER))
                if now >= until_ns:
                    return self._report_missing(now)
                if end_ns is not None and now >= end_ns:
                    return None
                wait_ns = min(until_ns, until_ns if end_ns is None else end_ns) - now
                self._poll.poll(max(1, -(-wait_ns // 1_000_000)))
        return None

    def fileno(self) -> int:
        """A descriptor that is readable when `take` may have something at once."""
        return self._bell

    def close(self) -> None:
        """End the process that captures, within 3 s; a second call does nothing."""
        if self._birthplace.why_not_here() or self._stop.is_set():
            return
        self._captured = self._process.child.heartbeat.count  # whoever asks meanwhile
        self._stop.set()
        os.eventfd_write(self._bell, 1)
        with self._taking:  # whoever waits for a frame has left then
            self._captured = self._process.child.heartbeat.count
            self._process.close()
            os.close(self._bell)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await_camera(self) -> None:
        began = time.monotonic()
        self._process.tried.wait()
        if not self._process.connected.is_set():
            waited = time.monotonic() - began
            raise CameraError(
                f"{self.name}: {self._process.trouble} (tried for {waited:.1f} s); "
                f"check {self._check}"
            )
        self.rate_hz = self._process.rate_hz
        self._last_ns = time.monotonic_ns()
        self._due_ns = self._last_ns + int(self._stall_ns * _SOONER)

    def _take_fresh(self, now: int) -> Frame | None:
        """The newest frame, if it has not been handed out and is no older than it may be."""
        ring, flawed = self._process.ring, self._process.flawed
        found = ring.newest(self._newest) if ring is not None else None
        if flawed is not None and flawed.number > max(
            self._newest, found[0].number if found else 0
        ):
            what = flawed.reason.partition(";")[0]
            reason = f"{self.name}: {what}; check {self._check}"
            stamp = Stamp(flawed.number, flawed.monotonic_ns, flawed.captured_at_ns)
            return self._frame(stamp, None, reason, now)
        if found is None:
            return None
        return self._frame(*found, "", now)

    def _frame(
        self, stamp: Stamp, image: npt.NDArray[np.uint8] | None, reason: str, now: int
    ) -> Frame | None:
        """A frame that came, or None if it is too old by now."""
        self._newest = stamp.number
        self._last_ns = max(self._last_ns, min(stamp.monotonic_ns, now))
        if now - stamp.monotonic_ns > _MAX_AGE_NS:
            return None
        self._used += 1
        index = stamp.number + self._missed
        return Frame(self.name, index, stamp.captured_at_ns, stamp.monotonic_ns, image, reason)

    def _report_missing(self, now: int) -> Frame:
        """A frame that says for how long there was none, and what is known about it."""
        self._due_ns = now + int(self._stall_ns * _SOONER)
        silent = (now - self._last_ns) / _NS
        trouble, waiting = self._process.trouble, self._process.waiting
        self._missed += 1
        reason = f"{self.name}: no frame for {silent:.1f} s"
        if waiting is not None and now < waiting.until_ns:
            reason += f": {waiting.reason}"
        else:
            reason += f"{f' ({trouble})' if trouble else ''}; check {self._check}"
        index = self._newest + self._missed
        return Frame(self.name, index, time.time_ns(), now, None, reason)
