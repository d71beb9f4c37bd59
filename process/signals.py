"""Signals that end a program: heard from its first moment, and obeyed whatever hangs.

The first handlers are installed before anything large is imported. A program that has no other
plan is interrupted where it is. One that does not end, since an engine or a driver does not return
or a file blocks while it is opened, is ended by a thread that waits for nothing of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from process.threads import GuardedThread

STARTING_S = 3.0
"""From a signal to the end by force while a command starts: there is nothing yet to put away."""
WORKING_S = 10.0
FINISHING_S = 30.0
"""The same where records and recordings are completed first."""
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL_S = 0.1
UNHEARD = 16
"""Of a signal that no Python thread could hear, the seconds until the end by force.

It is the number of a signal, too, SIGSTKFLT, which nobody sends: the kernel raises it when a signal
was noted, and its handler is the C library's `alarm`, which takes a handler's one argument for
seconds. The alarm ends the process, whoever holds Python's lock and never lets go of it.
"""
_UNCHANGED = "what was there before is unchanged"


class Ended(BaseException):  # as KeyboardInterrupt: no error
    """A signal ends the program; raised in the main thread."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(slots=True)
class _EndingPlan:
    within_s: float = WORKING_S
    left: str = _UNCHANGED
    held: int = 0
    pending: int = 0  # a signal that came while it was held


_state = _EndingPlan()


def end_within(seconds: float) -> None:
    """Say how long the program may take to end once a signal has come.

    Args:
        seconds: then it is ended by force.
    """
    _state.within_s = seconds


def note_change(line: str) -> None:
    """Say what is true if a signal ends the program from now on.

    Args:
        line: in place of that nothing has changed.
    """
    _state.left = line


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
    """Let a step be completed: a signal that comes meanwhile ends the program after it."""
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
    if _state.pending and not _state.held:
        raise Ended(_state.pending)


def ending_line(number: int) -> str:
    """What is said at an end by a signal, and what has become of the work."""
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    return f"{how}; {_state.left}"


@contextlib.contextmanager
def hearing_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the program, for a program's main thread alone.

    They raise `Ended` in it. If the process still runs after the time of `end_within`, it ends with
    a line and 128 plus the signal's number; after `UNHEARD` seconds by SIGALRM where a library
    holds Python's lock for as long, so that no line of Python can run. A signal that is ignored,
    as after `nohup`, stays so.
    """
    global _state  # noqa: PLW0603  # one for each program
    _state = _EndingPlan()
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    wakeup_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    _set_alarm_on_bytes(ours)
    before = {number: signal.signal(number, _raise_ended) for number in heard}
    guard = GuardedThread(lambda: _end_by_force(ours), name="edge-signals")
    guard.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_before)
        fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) & ~os.O_ASYNC)
        theirs.close()
        guard.join()
        ours.close()


def _set_alarm_on_bytes(end: socket.socket) -> None:
    """Let the kernel set the alarm when a byte comes, which Python's handler in C writes."""
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    libc.signal(UNHEARD, ctypes.cast(libc.alarm, ctypes.c_void_p))
    fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(end, fcntl.F_SETSIG, UNHEARD)
    fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)


def _raise_ended(number: int, _frame: FrameType | None) -> None:
    if _state.held:
        _state.pending = number
    else:
        raise Ended(number)


def _end_by_force(signals: socket.socket) -> None:
    """Run in a thread: read the numbers of signals as they come, until the program has ended."""
    poll = select.poll()  # the kernel raises no signal for a byte that a read is blocked for
    poll.register(signals, select.POLLIN)
    while poll.poll() and (numbers := signals.recv(1)):
        signal.alarm(0)  # it is heard
        number = numbers[0]
        is_reload = number == signal.SIGHUP and signal.getsignal(number) is not _raise_ended
        if number not in _ENDING or is_reload:
            continue
        came_s = time.monotonic()
        signals.settimeout(_POLL_S)
        while time.monotonic() < came_s + _state.within_s:
            with contextlib.suppress(TimeoutError):
                if not signals.recv(1):
                    return
        line = f"edge: {ending_line(number)}; it did not end by itself in {_state.within_s:g} s\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode())
        os._exit(128 + number)
