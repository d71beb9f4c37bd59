"""The parent's side of a live capture: starts the process that captures, watches it, replaces it.

One thread does it all, for as long as the source lives: the kernel ties the process to it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, cast

from cameras.capture.heartbeat import Vitals
from cameras.capture.messages import (
    OPENS,
    Connected,
    LinkError,
    Lost,
    Memory,
    Task,
    pair,
    receive,
    send,
)
from cameras.capture.ring import RingError, RingReader
from cameras.child_process import reap
from cameras.redaction import one_line, redacted

LOG = logging.getLogger("edge.capture")
PAUSES_S = (0.1, 0.5, 1.0, 2.0)
HEALTHY_S = 10.0
START_WITHIN_S = 20.0
SILENT_AFTER_S = 2.0
# A process that has not had its turn does not hang; one that never leaves a driver's loop does.
STARVED = 5
OVERDUE_AFTER_S = 0.3
CLOSE_WITHIN_S = 1.5
_TICK_S = 0.1
_NS = 1_000_000_000
_LINE_BYTES = 4096
# The child finds its modules where this process found them, wherever it was started.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from cameras.capture.child import main; sys.exit(main(sys.argv[1:4]))"
)
# FFmpeg tells only here that the pictures of a connection have another size; OpenCV goes on
# scaling them to the first one's.
_TALKATIVE: Mapping[str, str] = MappingProxyType(
    {"OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_LOGLEVEL": "40"}
)
_RESIZED = re.compile(rb"Reinit context to (\d+x\d+)")
_FFMPEG_ERROR = re.compile(rb"\[OPENCV:FFMPEG:(?:0?8|16)\] *(.*)")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")


@dataclass(slots=True)
class _Child:
    """A running process that captures."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    output: IO[bytes]
    born_s: float
    beat: int
    alive: bool = False  # it has given a sign of life
    silent_s: float = 0.0  # that this process was awake for
    overdue_s: float = 0.0
    condemned: str = ""  # why it is killed
    rest: bytes = b""  # of an unfinished line
    error: str = ""  # what a library complained of last
    sizes: set[bytes] = field(default_factory=set)  # of the pictures of this connection


class CaptureProcess:
    """Keeps a process running that captures, until `close`.

    Args:
        task: what it shall capture.
        name: what the camera is called, credentials redacted.
        bell: event descriptor that rings for a new frame, a new ring and news; the caller's.

    Attributes:
        vitals: what the process tells of itself; they outlive it.
        ring: where its newest pictures are; None before the first.
        rate_hz: the camera's nominal rate, once it was open.
        trouble: why there is no picture, as far as it is known; empty while all is well.
        tried: set when the camera was open, or could not be opened, for the first time.
        restarts: how often the process had to be started again.
    """

    def __init__(self, task: Task, *, name: str, bell: int) -> None:
        self.vitals = Vitals.make()
        self.ring: RingReader | None = None
        self.rate_hz: float | None = None
        self.trouble = ""
        self.tried = threading.Event()
        self.connected = threading.Event()
        self.restarts = 0
        self._task = task
        self._name = name
        self._bell = bell
        self._closing = threading.Event()
        self._child: _Child | None = None
        self._thread = threading.Thread(target=self._run, name="edge-capture", daemon=True)
        self._thread.start()

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now; None between two."""
        child = self._child
        return child.process.pid if child is not None else None

    def close(self) -> None:
        """End the process and the thread, within 3 s; a second call does nothing."""
        self._closing.set()
        self._thread.join()
        self.vitals.close()
        self.ring = None

    def _run(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                reason = self._live()
            except OSError as error:
                reason = f"the process that captures cannot be started: {error}"
            if self._closing.is_set():
                return
            self._news(reason)
            LOG.error("%s: %s; it is started again", self._name, reason)
            attempt = 0 if time.monotonic() - began > HEALTHY_S else attempt
            if self._closing.wait(PAUSES_S[min(attempt, len(PAUSES_S) - 1)]):
                return
            attempt += 1
            self.restarts += 1

    def _live(self) -> str:
        """One life of the process; why it ended.

        Raises:
            OSError: it cannot be started.
        """
        child = self._child = self._born()
        try:
            self._watch(child)
        finally:
            child.link.close()
            ending = reap(child.process, patience_s=CLOSE_WITHIN_S)
            child.output.close()
            self._child = None
        return child.condemned or f"the process that captures ended: {ending}"

    def _born(self) -> _Child:
        ours, theirs = pair()
        handed = (theirs.fileno(), self.vitals.descriptor, self._bell)
        self.vitals.busy_until(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, *map(str, handed), *sys.path],
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_TALKATIVE},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # gone already: seen in a moment
            send(ours, self._task)
        output = cast("IO[bytes]", process.stdout)
        os.set_blocking(output.fileno(), False)
        return _Child(process, ours, output, time.monotonic(), self.vitals.beat)

    def _watch(self, child: _Child) -> None:
        """Hear what the process says until it is gone, has to go, or the source is closed."""
        poll = select.poll()
        poll.register(child.link, select.POLLIN)
        poll.register(child.output, select.POLLIN)
        last = time.monotonic()
        while not self._closing.is_set():
            ready = dict(poll.poll(_TICK_S * 1000))
            # First what libraries wrote: it explains what the process then says.
            if child.output.fileno() in ready and not self._read_output(child):
                poll.unregister(child.output)
            if child.link.fileno() in ready and not self._heard(child):
                return
            now = time.monotonic()
            self._check(child, now - last)
            last = now
            if child.condemned:
                child.process.kill()  # SIGKILL ends a stopped process too
                return

    def _heard(self, child: _Child) -> bool:
        """Take one message; False if there will be no more."""
        try:
            message, descriptor = receive(child.link)
        except EOFError:
            return False
        except LinkError as error:
            child.condemned = f"the process that captures talks nonsense: {error}"
            return True
        if isinstance(message, Memory) and descriptor is not None:
            try:
                self.ring = RingReader(descriptor, (message.height, message.width))
            except (RingError, OSError) as error:
                child.condemned = f"the process that captures hands over nonsense: {error}"
        elif isinstance(message, Connected):
            self.rate_hz = message.rate_hz
            self.trouble = ""
            self.connected.set()
            self.tried.set()
        elif isinstance(message, Lost):
            why, child.error = f" ({child.error})" if child.error else "", ""
            self._news(message.reason + why)
            LOG.info("%s: %s; it is opened again", self._name, self.trouble)
        os.eventfd_write(self._bell, 1)
        return True

    def _news(self, reason: str) -> None:
        """Remember why there is no picture."""
        self.trouble = one_line(reason)
        self.tried.set()

    def _check(self, child: _Child, passed_s: float) -> None:
        """Condemn a process that hangs.

        Only time counts that this process was awake for: it may have been held up as well, with
        the whole machine, and the one that captures may not have had its turn since.
        """
        awake_s = min(passed_s, 2 * _TICK_S)
        beat = self.vitals.beat
        child.silent_s = 0.0 if beat != child.beat else child.silent_s + awake_s
        child.alive = child.alive or beat != child.beat
        child.beat = beat
        due_ns = self.vitals.due_ns
        overdue = due_ns != 0 and time.monotonic_ns() > due_ns
        child.overdue_s = child.overdue_s + awake_s if overdue else 0.0
        patience_s = SILENT_AFTER_S if child.alive else START_WITHIN_S
        if child.silent_s >= patience_s * STARVED or (
            child.silent_s >= patience_s and not _runnable(child.process.pid)
        ):
            how = "is silent" if child.alive else "does not start"
            child.condemned = f"the process that captures {how} for {child.silent_s:.1f} s"
        elif child.overdue_s >= OVERDUE_AFTER_S:
            child.condemned = "the camera's driver hangs"

    def _read_output(self, child: _Child) -> bool:
        """Read what libraries wrote; False if there will be no more."""
        try:
            data = os.read(child.output.fileno(), 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        *lines, rest = (child.rest + data).split(b"\n")
        child.rest = rest[-_LINE_BYTES:]
        for line in lines:
            self._read_line(child, line)
        return True

    def _read_line(self, child: _Child, line: bytes) -> None:
        if line.endswith(OPENS):
            child.sizes.clear()
            return
        text = _redacted(line)
        LOG.debug("%s: %s", self._name, text)
        if (found := _FFMPEG_ERROR.match(line)) is not None:
            child.error = _redacted(found[1])
        if (found := _RESIZED.search(line)) is not None:
            child.sizes.add(found[1])
            if len(child.sizes) > 1:
                child.condemned = "the camera changed its size"


def _runnable(process_id: int) -> bool:
    """Whether a process waits for nothing but its turn: on a busy machine that is no fault."""
    states = set()
    for task in Path(f"/proc/{process_id}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # the thread has just ended
            states.add(task.read_bytes().rpartition(b")")[2].split()[0])
    return b"R" in states


def _redacted(line: bytes) -> str:
    """A line of a library's, without credentials."""
    text = line.decode("utf-8", "replace")
    return one_line(_ADDRESS.sub(lambda address: redacted(address[0]), text))
