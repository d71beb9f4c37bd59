"""The process that captures: opens the camera, drains it, writes each frame into shared memory.

`cameras.capture.supervisor` starts it, nobody else.

What a camera's library reports is not trusted: it returns pictures that it kept from before a
stall, and waits as long as it likes. So a connection ends with a wait as long as a stall, unless
the camera knows better, and what comes at once after a wait, or after opening, is old: it is
counted, and not handed out. A damaged picture is told in place of being handed out.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cameras.capture.backlog import BacklogFilter
from cameras.capture.device import Device, NotYet, Opened, device_from_json
from cameras.capture.messages import CaptureTask, Connected, Flawed, Lost, Memory, NotDue
from cameras.capture.ring import RingWriter, Stamp
from cameras.child_link import Heartbeat, Link, LinkError
from cameras.errors import CameraError, ImageError
from cameras.parent_link import ORPHANED, connect_to_parent, write_lines_at_once

BACKOFF_S = (0.25, 0.5, 1.0, 2.0)
OPEN_WITHIN_S = 20.0
GRAB_SLACK_S = 1.0
MAX_LEAKED_BYTES = 64 << 20
_NS = 1_000_000_000
_TELL_NS = _NS // 5  # not more often
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

    def tell(self, message: Connected | Flawed | Lost | NotDue) -> None:
        self._link.send(message)

    def write(self, camera: Opened, stamp: Stamp) -> bool:
        """Hand out what the camera grabbed; False if the connection is of no more use.

        Raises:
            CameraError: its pictures cannot be used.
            ImageError: this one cannot.
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
        backlog = BacklogFilter(camera.rate_hz, self._stall_ns)
        waiting = _DelayTeller(self._outlet, self._stall_ns)
        wait_ns = self._stall_ns if camera.patience_s is None else int(camera.patience_s * _NS)
        delivered = False
        while not self._stop.is_set():
            began = time.monotonic_ns()
            self._heartbeat.due_ns = began + wait_ns + int(GRAB_SLACK_S * _NS)
            try:
                grabbed = camera.grab()
            except NotYet as waits:
                waiting.tell(str(waits), for_ns=self._stall_ns)
                continue
            now = time.monotonic_ns()
            if not grabbed:
                return delivered, camera.trouble or "the connection ended"
            # What a decoder kept, and what queued up on the way, is old, whatever it says.
            if now - began >= wait_ns:
                return delivered, "the pictures stopped"
            stamp = Stamp(self._heartbeat.count, now, time.time_ns())
            self._heartbeat.count += 1
            is_old = backlog.is_old(began, now)
            if backlog.has_queue:
                return delivered, "the pictures stopped"
            if period_ns := backlog.slow_period_ns:
                waiting.tell_slow(period_ns)
            if is_old:
                continue
            if reason := self._hand_out(camera, stamp):
                return delivered, reason
            delivered = True
        return delivered, "stopped"

    def _hand_out(self, camera: Opened, stamp: Stamp) -> str:
        """Hand out what the camera grabbed; why the connection is of no more use, or empty."""
        try:
            return "" if self._outlet.write(camera, stamp) else "the connection ended"
        except ImageError as error:
            flawed = Flawed(stamp.number, stamp.monotonic_ns, stamp.captured_at_ns, str(error))
            self._outlet.tell(flawed)
            return ""
        except CameraError as error:
            return str(error)


class _DelayTeller:
    """Tells why there is no picture although all is well, not too often."""

    def __init__(self, outlet: _Outlet, stall_ns: int) -> None:
        self._outlet = outlet
        self._stall_ns = stall_ns
        self._told_ns = 0

    def tell(self, reason: str, *, for_ns: int) -> None:
        """Tell a reason that holds for a time."""
        now = time.monotonic_ns()
        if now - self._told_ns >= _TELL_NS:
            self._told_ns = now
            self._outlet.tell(NotDue(reason, now + for_ns))

    def tell_slow(self, period_ns: int) -> None:
        """Tell that the next picture is due later than what counts as a stall."""
        reason = f"one picture every {period_ns / _NS:.1f} s: raise --stall-after"
        self.tell(reason, for_ns=2 * period_ns)


def _count_private_bytes() -> int:
    """Return the memory that is this process's alone: the frames' is shared."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
