"""Triggers of a capture, whoever they come from: a key, another program, a PLC."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from cameras.errors import CameraError
from cameras.frame import Frame

_NS_PER_MS = 1_000_000
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Trigger:
    """One trigger.

    Attributes:
        number: 1 for the first.
        at_ns: monotonic; a live frame of before is not its own.
        picture: the name of the file that was saved for it, once it is on the disk; a CameraError
            says why there is none.
    """

    number: int
    at_ns: int
    picture: Future[str] = field(default_factory=Future)


class Triggers:
    """Triggers that came; the first frame captured after each is saved, one for all before it.

    Of a source that waits, such as a file, each has a frame of its own.

    Args:
        live: whether frames come by themselves.
        settle_ms: a live frame counts from so long after its trigger.

    Attributes:
        came: triggers in all.
        doubled: of these, those that came before the frame that another one took.
        missed: of these, those that have no picture.
    """

    def __init__(self, *, live: bool = True, settle_ms: float = 0.0) -> None:
        self.came = self.doubled = self.missed = 0
        self._live = live
        self._settle_ns = int(settle_ms * _NS_PER_MS)
        self._lock = threading.Condition()
        self._numbers = itertools.count(1)
        self._waiting: list[Trigger] = []
        self._due: list[Trigger] = []  # whose frame was just chosen
        self._ended = ""

    def trigger(self, at_ns: int | None = None) -> Trigger:
        """Take note of a trigger; returns at once, any thread may call.

        Args:
            at_ns: its monotonic time; None is now.
        """
        with self._lock:
            self.came += 1
            number = next(self._numbers)
            trigger = Trigger(number, time.monotonic_ns() if at_ns is None else at_ns)
            ended = self._ended
            if not ended:
                self._waiting.append(trigger)
            self._lock.notify_all()
        if ended:
            self._fail([trigger], ended)
        return trigger

    def await_one(self, stop: threading.Event) -> bool:
        """Wait for a trigger; False once it is told to stop."""
        with self._lock:
            while not self._waiting and not stop.is_set():
                self._lock.wait(_POLL_S)
            return not stop.is_set()

    def wait_until_served(self) -> None:
        """Wait until no trigger waits for its frame."""
        with self._lock:
            self._lock.wait_for(lambda: not self._waiting)

    def __call__(self, frame: Frame) -> bool:
        """Whether a trigger came before this frame was captured; `settle` is to follow."""
        with self._lock:
            if self._live:
                until_ns = frame.monotonic_ns - self._settle_ns
                self._due = [one for one in self._waiting if one.at_ns <= until_ns]
            else:
                self._due = self._waiting[:1]
            self._waiting = [one for one in self._waiting if one not in self._due]
            self.doubled += max(0, len(self._due) - 1)
            self._lock.notify_all()
            return bool(self._due)

    def settle(self, written: Future[str] | None) -> None:
        """Say what becomes of the frame that was chosen last.

        Args:
            written: of the picture's name; None: there is no room for it.
        """
        due, self._due = self._due, []
        if written is None:
            self._fail(due, "no room: the disk or the processor is slower than the camera")
            return

        def tell(done: Future[str]) -> None:
            error = done.exception()
            if error is not None:
                self._fail(due, str(error))
                return
            for trigger in due:
                trigger.picture.set_result(done.result())

        written.add_done_callback(tell)

    def miss(self, reason: str) -> list[Trigger]:
        """Let all that wait go without a picture, since the camera has none; returns them.

        Of a source that waits it is the first one alone, whose frame it was.
        """
        with self._lock:
            count = len(self._waiting) if self._live or self._ended else 1
            missed, self._waiting = self._waiting[:count], self._waiting[count:]
            self._lock.notify_all()
        self._fail(missed, reason)
        return missed

    def end(self) -> list[Trigger]:
        """Take no more; those that wait have no picture, and are returned."""
        with self._lock:
            self._ended = "the capture has ended"
        return self.miss(self._ended)

    def _fail(self, triggers: list[Trigger], reason: str) -> None:
        with self._lock:
            self.missed += len(triggers)
        for trigger in triggers:
            trigger.picture.set_exception(CameraError(reason))
