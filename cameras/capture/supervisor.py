"""The parent's side of a live capture: what the process that captures says, shows and writes."""

from __future__ import annotations

import logging
import os
import re
import threading

from cameras.capture.messages import CaptureTask, Connected, Flawed, Lost, Memory, NotDue
from cameras.capture.ring import RingError, RingReader
from cameras.child_process import ChildOptions, ChildProcess, Ending, python_command
from cameras.redaction import one_line, redact_address

LOG = logging.getLogger("edge.capture")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")


class CaptureProcess:
    """Keeps a process running that captures, until `close`.

    Args:
        task: what it shall capture.
        name: what the camera is called, credentials redacted.
        bell: event descriptor that rings for a new frame, a new ring and news; the caller's.

    Attributes:
        child: the process; its heartbeat counts the frames that the camera delivered.
        ring: where its newest pictures are; None before the first.
        rate_hz: the camera's nominal rate, once it was open.
        trouble: why there is no picture, as far as it is known; empty while all is well.
        waiting: why there is none although all is well; None if nothing explains it.
        flawed: the newest picture that must not be judged; None before the first.
        tried: set when the camera was open, or could not be opened, for the first time.
        connected: set when the camera was open for the first time.
    """

    def __init__(self, task: CaptureTask, *, name: str, bell: int) -> None:
        self.ring: RingReader | None = None
        self.rate_hz: float | None = None
        self.trouble = ""
        self.waiting: NotDue | None = None
        self.flawed: Flawed | None = None
        self.tried = threading.Event()
        self.connected = threading.Event()
        self._task = task
        self._name = name
        self._bell = bell
        options = ChildOptions(
            name="the process that captures",
            command=python_command("cameras.capture.child"),
            kinds=(Connected, Flawed, Lost, Memory, NotDue),
            descriptors=(bell,),
            overdue="the camera's driver hangs",
            read_line=self._read_line,
        )
        self.child = ChildProcess(options, self)
        self.child.start()

    def close(self) -> None:
        """End the process and the thread, within 3 s; a second call does nothing."""
        self.child.close()
        self.ring = None

    def on_start(self) -> CaptureTask:
        """See `ChildHandler.on_start`."""
        self.waiting = None
        return self._task

    def on_message(self, message: object) -> None:
        """See `ChildHandler.on_message`."""
        if isinstance(message, Memory):
            try:
                self.ring = RingReader(message.descriptor, (message.height, message.width))
            except (RingError, OSError) as error:
                self.child.kill(f"the process that captures hands over nonsense: {error}")
        elif isinstance(message, Connected):
            self.rate_hz = message.rate_hz
            self.trouble = ""
            self.connected.set()
            self.tried.set()
        elif isinstance(message, NotDue):
            self.waiting = message
        elif isinstance(message, Flawed):
            self.flawed = message
        elif isinstance(message, Lost):
            self._set_trouble(message.reason)
            LOG.info("%s: %s; opening it again", self._name, self.trouble)
        os.eventfd_write(self._bell, 1)

    def on_lost(self, ending: Ending, reason: str) -> None:
        """See `ChildHandler.on_lost`."""
        self._set_trouble(reason)
        LOG.error("%s: %s; restarting it", self._name, reason)

    def _set_trouble(self, reason: str) -> None:
        self.trouble = one_line(reason)
        self.waiting = None
        self.tried.set()

    def _read_line(self, line: bytes) -> None:
        """Keep what a library wrote for whoever looks for a reason."""
        LOG.debug("%s: %s", self._name, _redact_line(line))


def _redact_line(line: bytes) -> str:
    """A line of a library's, without credentials."""
    text = line.decode("utf-8", "replace")
    return one_line(_ADDRESS.sub(lambda address: redact_address(address[0]), text))
