"""Threads that nothing ends unnoticed: every thread of protoedge is a `GuardedThread`.

A part's own trouble is foreseen, and an ERROR of that part, where the part is handled. What nobody
foresaw arrives here: it is logged, it makes the process not ready (`FAILURES`), whoever waits for
the thread is told, and the thread goes on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec

from process.forks import in_children

LOG = logging.getLogger("edge.threads")
Given = ParamSpec("Given")
PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a thread goes on after a failure, the last one for ever."""
HEALTHY_S = 10.0  # after which the pauses begin anew
QUIET_S = 60.0
"""Without a further failure of the same thread, before the process counts as ready again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a thread last failed with.

    Attributes:
        reason: in words.
        goes_on: whether the thread went on; otherwise what it did is done no more.
        failed_s: monotonic.
    """

    reason: str
    goes_on: bool
    failed_s: float


class Failures:
    """What nobody foresaw in the threads of this process; any thread may ask.

    Attributes:
        count: of failures so far.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[str, Failure], None]] = []
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked process: threads that failed, or hold the lock, are not there."""
        self.count = 0
        self._lock = threading.Lock()
        self._latest: dict[str, Failure] = {}  # by the thread's name

    def note(self, thread: str, error: BaseException, *, goes_on: bool) -> None:
        """Log a failure and keep it in mind; never raises.

        Args:
            thread: its name.
            error: that nobody foresaw.
            goes_on: whether the thread goes on.
        """
        reason = f"{thread} failed: {type(error).__name__}: {error}"[:300]
        is_new = self.add(thread, reason, goes_on=goes_on)
        level = logging.ERROR if is_new else logging.DEBUG  # one line for what comes with each part
        what_next = "it goes on" if goes_on else "what it did is done no more; restart the program"
        with contextlib.suppress(Exception):  # such as no memory for the line
            LOG.log(level, "%s; %s; please report it", reason, what_next, exc_info=error)

    def add(self, thread: str, reason: str, *, goes_on: bool) -> bool:
        """Keep in mind what was logged already, such as by a child process; never raises.

        Args:
            thread: its name.
            reason: what happened.
            goes_on: whether the thread goes on.

        Returns:
            Whether it is new: not the same as a moment ago.
        """
        failure = Failure(reason, goes_on, time.monotonic())
        with self._lock:
            self.count += 1
            before = self._latest.get(thread)
            self._latest[thread] = failure
            listeners = list(self._listeners)
        for listener in listeners:
            with contextlib.suppress(Exception):
                listener(thread, failure)
        if before is None or before.reason != reason:
            return True
        return failure.failed_s - before.failed_s >= QUIET_S

    def forget(self, prefix: str) -> None:
        """Forget the threads whose names begin so: what they belonged to was replaced."""
        with self._lock:
            self._latest = {
                name: one for name, one in self._latest.items() if not name.startswith(prefix)
            }

    def reasons(self, *, since_s: float) -> dict[str, str]:
        """Why this process can't be relied on now, by thread; empty when it can.

        A thread that went on counts as well again after a minute; one that ended never does.

        Args:
            since_s: monotonic; what failed before is no concern of whoever asks.
        """
        quiet_since_s = time.monotonic() - QUIET_S
        with self._lock:
            return {
                thread: failure.reason
                for thread, failure in self._latest.items()
                if failure.failed_s >= since_s
                and (not failure.goes_on or failure.failed_s > quiet_since_s)
            }

    def listen(self, listener: Callable[[str, Failure], None]) -> None:
        """Call a listener with each further failure and its thread, in the thread that failed."""
        with self._lock:
            self._listeners.append(listener)

    def watch_foreign_threads(self) -> None:
        """Note from now on the end of threads that libraries start, too; for a program's start."""

        def note(ended: threading.ExceptHookArgs) -> None:
            thread = "a library's thread" if ended.thread is None else ended.thread.name
            self.note(thread, ended.exc_value or ended.exc_type(), goes_on=False)

        threading.excepthook = note


FAILURES = Failures()
"""Of this process."""
in_children(FAILURES.renew)


def noting_failures(call: Callable[Given, None], *, name: str) -> Callable[Given, None]:
    """Return what calls and raises nothing: for what a library calls in a thread of its own.

    Args:
        call: its failures are noted, and the library's thread goes on.
        name: of what it does in messages.
    """

    def noting(*words: Given.args, **named: Given.kwargs) -> None:
        try:
            call(*words, **named)
        except Exception as error:  # noqa: BLE001  # the border of a library's thread
            FAILURES.note(name, error, goes_on=True)

    return noting


class GuardedThread(threading.Thread):
    """A thread whose failures are told, and that goes on after them.

    Args:
        work: done in the thread. Where it raises, it is called again, until it returns.
        name: of the thread, and of what it does in messages.
        on_failure: told the error in the thread, before it goes on: whoever waits for what was in
            hand gets an answer there.
        goes_on: False: after a failure it ends, and the process is not ready from then on.
        daemon: whether the process may end while it runs.
    """

    def __init__(
        self,
        work: Callable[[], object],
        *,
        name: str,
        on_failure: Callable[[BaseException], object] | None = None,
        goes_on: bool = True,
        daemon: bool = True,
    ) -> None:
        super().__init__(name=name, daemon=daemon)
        self._work = work
        self._on_failure = on_failure
        self._goes_on = goes_on
        self._is_awaited = threading.Event()

    def run(self) -> None:
        """Do the work, again after each failure."""
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                self._work()
                return
            except BaseException as error:  # noqa: BLE001  # the border of every thread
                goes_on = self._goes_on and not self._is_awaited.is_set()
                FAILURES.note(self.name, error, goes_on=goes_on)
                self._tell(error)
            if not goes_on:
                return
            failures = 0 if time.monotonic() - begun > HEALTHY_S else failures
            self._is_awaited.wait(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end; a further failure is the end, and nothing is paused for any more."""
        self._is_awaited.set()
        super().join(timeout)

    def _tell(self, error: BaseException) -> None:
        if self._on_failure is None:
            return
        try:
            self._on_failure(error)
        except BaseException as another:  # noqa: BLE001  # the border of every thread
            FAILURES.note(self.name, another, goes_on=self._goes_on)
