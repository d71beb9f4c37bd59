"""What a command does when a signal tells it to stop or to reload."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; a second one does what the first did before.

    For a program's main thread alone.
    """
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in signals:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


def has_terminal() -> bool:
    """Whether a hang-up means that somebody closed the terminal, and the command shall end."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def call_on_hangup(work: Callable[[], None]) -> Iterator[None]:
    """Call `work` at each SIGHUP while the block runs; for a program's main thread alone."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        work()

    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
