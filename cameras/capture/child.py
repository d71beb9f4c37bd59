"""The process that captures: opens the camera, drains it, writes each frame into shared memory.

`cameras.capture.supervisor` starts it, nobody else.

What a camera's library reports is not trusted: it returns pictures that it kept from before a
stall, and waits as long as it likes. So a connection ends with a wait as long as a stall, and what
comes at once after a wait, or after opening, is old: it is counted, and not handed out.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cameras.capture.device import Device, Opened, device_from_json
from cameras.capture.messages import OPENS, CaptureTask, Connected, Lost, Memory
from cameras.capture.ring import RingWriter, Stamp
from cameras.child_link import Heartbeat, Link, LinkError
from cameras.errors import CameraError
from cameras.parent_link import ORPHANED, connect_to_parent, write_lines_at_once

BACKOFF_S = (0.25, 0.5, 1.0, 2.0)
OPEN_WITHIN_S = 20.0
GRAB_SLACK_S = 1.0
MAX_LEAKED_BYTES = 64 << 20
_NS = 1_000_000_000
_CATCH_UP_NS = _NS
_LATE_NS = 150_000_000
_USUAL_HZ = 30.0
_PARENT_GONE_S = 0.3  # after which it is known


def main(arguments: list[str]) -> int:
    """Capture until the parent is gone; the arguments are from `ChildProcess`."""
    parent = connect_to_parent(arguments, (CaptureTask,))
    write_lines_at_once()
    try:
        task = parent.link.receive()
    except (EOFError, LinkError):
        return ORPHANED
    if not isinstance(task, CaptureTask):
        return ORPHANED
    stop = parent.is_gone
    outlet = _Outlet(parent.link, parent.heartbeat, *parent.descriptors)
    capture = _Capture(device_from_json(task.device), outlet, stall_ns=task.stall_ns, stop=stop)
    try:
        capture.run()
    except OSError:  # the parent went away while something was told to it
        if not stop.wait(_PARENT_GONE_S):
            raise
    return 0


class _Outlet:
    """Where frames go: a ring of their size, the bell that says so."""

    def __init__(self, link: Link, heartbeat: Heartbeat, bell: int) -> None:
        self.heartbeat = heartbeat
        self._link = link
        self._bell = bell
        self._ring: RingWriter | None = None

    def tell(self, message: Connected | Lost) -> None:
        self._link.send(message)

    def mark_opening(self) -> None:
        """Part what libraries write about this connection from what they wrote before."""
        os.write(sys.stdout.fileno(), OPENS + b"\n")

    def write(self, camera: Opened, stamp: Stamp) -> bool:
        """Hand out what the camera grabbed; False if the connection is of no more use.

        Raises:
            CameraError: its pictures cannot be used.
        """
        ring = self._ring
        into = ring.begin() if ring is not None else None
        try:
            image = camera.retrieve(into)
            if image is None:
                return False
            if ring is None or image.shape[:2] != ring.shape:
                if ring is not None:
                    ring.abandon()
                ring, into = self._make_ring(image)
            if into is None:  # all slots are in use: the frame counts as dropped
                return True
            if image is not into:
                np.copyto(into, image)
            ring.publish(stamp)
        finally:
            if ring is not None:
                ring.abandon()
        os.eventfd_write(self._bell, 1)
        return True

    def _make_ring(
        self, image: npt.NDArray[np.uint8]
    ) -> tuple[RingWriter, npt.NDArray[np.uint8] | None]:
        height, width = image.shape[:2]
        self._ring = ring = RingWriter((height, width))
        self._link.send(Memory(height, width, ring.descriptor))
        return ring, ring.begin()


class _Capture:
    """Opens, drains and opens again, for ever."""

    def __init__(
        self, device: Device, outlet: _Outlet, *, stall_ns: int, stop: threading.Event
    ) -> None:
        self._device = device
        self._outlet = outlet
        self._heartbeat = outlet.heartbeat
        self._stall_ns = stall_ns
        self._stop = stop

    def run(self) -> None:
        """Capture until told to stop, or until the camera's library has leaked too much.

        Some leak with each opening, GenICam's 0.4 MiB; a camera may be off for weeks. The process
        then ends, and is started afresh.
        """
        attempt = 0
        usual = 0
        while not self._stop.is_set():
            delivered, reason = self._connect_and_drain()
            if self._stop.is_set():
                return
            self._outlet.tell(Lost(reason))
            usual = usual or _count_private_bytes()
            if _count_private_bytes() - usual > MAX_LEAKED_BYTES:
                return
            attempt = 0 if delivered else attempt
            self._stop.wait(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            attempt += 1

    def _connect_and_drain(self) -> tuple[bool, str]:
        """One connection; whether it delivered, and why it ended."""
        self._heartbeat.due_ns = time.monotonic_ns() + int(OPEN_WITHIN_S * _NS)
        self._outlet.mark_opening()
        try:
            camera = self._device.open()
        except CameraError as error:
            return False, str(error)
        finally:
            self._heartbeat.due_ns = 0
        try:
            self._outlet.tell(Connected(camera.rate_hz))
            return self._drain(camera)
        finally:
            self._heartbeat.due_ns = time.monotonic_ns() + int(OPEN_WITHIN_S * _NS)
            camera.close()
            self._heartbeat.due_ns = 0

    def _drain(self, camera: Opened) -> tuple[bool, str]:
        """Hand out pictures until the connection is lost; whether there was any, and why."""
        backlog = _BacklogFilter(camera.rate_hz or _USUAL_HZ)
        delivered = False
        while not self._stop.is_set():
            began = time.monotonic_ns()
            self._heartbeat.due_ns = began + self._stall_ns + int(GRAB_SLACK_S * _NS)
            grabbed = camera.grab()
            now = time.monotonic_ns()
            if not grabbed:
                return delivered, "the connection ended"
            # What a decoder kept, and what queued up on the way, is old, whatever it says.
            if now - began >= self._stall_ns:
                return delivered, "the pictures stopped"
            stamp = Stamp(self._heartbeat.count, now, time.time_ns())
            self._heartbeat.count += 1
            if backlog.is_old(began, now):
                continue
            try:
                if not self._outlet.write(camera, stamp):
                    return delivered, "the connection ended"
            except CameraError as error:
                return delivered, str(error)
            delivered = True
        return delivered, "stopped"


def _count_private_bytes() -> int:
    """Return the memory that is this process's alone: the frames' is shared."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


class _BacklogFilter:
    """Tells pictures that queued up somewhere from those that come when they are taken.

    Opening collects pictures for up to seconds before it returns; a network that was interrupted,
    or a process that was held up, leaves a queue. They come at once: they are old until one has to
    be waited for. Whether the first one after a gap is old cannot be known, so it counts as old.
    """

    def __init__(self, rate_hz: float) -> None:
        self._wait_ns = int(_NS / (2 * rate_hz))
        self._period_ns = _NS / rate_hz
        self._last_ns = self._since_ns = time.monotonic_ns()
        self._behind = True

    def is_old(self, began_ns: int, now_ns: int) -> bool:
        """Whether the picture that was waited for from `began_ns` to `now_ns` is old."""
        gap_ns, self._last_ns = now_ns - self._last_ns, now_ns
        late_ns = max(_LATE_NS, 2.5 * self._period_ns)
        waited = now_ns - began_ns >= self._wait_ns
        if waited:  # nominal rates are often wrong, and cameras get slower in the dark
            self._period_ns += 0.2 * (min(gap_ns, 4 * self._period_ns) - self._period_ns)
        if not self._behind and gap_ns > late_ns:
            self._behind, self._since_ns = True, now_ns
            return True
        if self._behind and not waited and now_ns - self._since_ns < _CATCH_UP_NS:
            return True
        self._behind = False
        return False
