"""The parent's side of a live capture: what the process that captures says, shows and writes."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping
from types import MappingProxyType

from cameras.capture.messages import OPENS, CaptureTask, Connected, Lost, Memory
from cameras.capture.ring import RingError, RingReader
from cameras.child_process import ChildOptions, ChildProcess, Ending, python_command
from cameras.redaction import one_line, redact_address

LOG = logging.getLogger("edge.capture")
# FFmpeg tells only here that the pictures of a connection have another size; OpenCV goes on
# scaling them to the first one's.
_TALKATIVE: Mapping[str, str] = MappingProxyType(
    {"OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_LOGLEVEL": "40"}
)
_RESIZED = re.compile(rb"Reinit context to (\d+x\d+)")
_FFMPEG_ERROR = re.compile(rb"\[OPENCV:FFMPEG:(?:0?8|16)\] *(.*)")
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
        tried: set when the camera was open, or could not be opened, for the first time.
        connected: set when the camera was open for the first time.
    """

    def __init__(self, task: CaptureTask, *, name: str, bell: int) -> None:
        self.ring: RingReader | None = None
        self.rate_hz: float | None = None
        self.trouble = ""
        self.tried = threading.Event()
        self.connected = threading.Event()
        self._task = task
        self._name = name
        self._bell = bell
        self._library_error = ""  # what a library complained of last
        self._sizes: set[bytes] = set()  # of the pictures of this connection
        options = ChildOptions(
            name="the process that captures",
            command=python_command("cameras.capture.child"),
            kinds=(Connected, Lost, Memory),
            descriptors=(bell,),
            environment=_TALKATIVE,
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
        self._library_error = ""
        self._sizes.clear()
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
        elif isinstance(message, Lost):
            why = f" ({self._library_error})" if self._library_error else ""
            self._library_error = ""
            self._set_trouble(message.reason + why)
            LOG.info("%s: %s; opening it again", self._name, self.trouble)
        os.eventfd_write(self._bell, 1)

    def on_lost(self, ending: Ending, reason: str) -> None:
        """See `ChildHandler.on_lost`."""
        self._set_trouble(reason)
        LOG.error("%s: %s; restarting it", self._name, reason)

    def _set_trouble(self, reason: str) -> None:
        self.trouble = one_line(reason)
        self.tried.set()

    def _read_line(self, line: bytes) -> None:
        """Learn from what a library wrote."""
        if line.endswith(OPENS):
            self._sizes.clear()
            return
        LOG.debug("%s: %s", self._name, _redact_line(line))
        if (found := _FFMPEG_ERROR.match(line)) is not None:
            self._library_error = _redact_line(found[1])
        if (found := _RESIZED.search(line)) is not None:
            self._sizes.add(found[1])
            if len(self._sizes) > 1:
                self.child.kill("the camera changed its size")


def _redact_line(line: bytes) -> str:
    """A line of a library's, without credentials."""
    text = line.decode("utf-8", "replace")
    return one_line(_ADDRESS.sub(lambda address: redact_address(address[0]), text))
