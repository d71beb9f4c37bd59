"""Triggers as lines on standard input: a key, or another program's pipe."""

from __future__ import annotations

import io
import logging
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import partial

from process.threads import GuardedThread

LOG = logging.getLogger("edge.stream.triggered")
_POLL_S = 0.05
_LINES = 1000
_LONGEST_LINE = 4096  # characters, the end of the line among them


def open_triggers() -> Iterator[str]:
    """Lines of standard input, a very long one in parts.

    A byte that is no text spoils its own line alone.
    """
    if sys.stdin is None:  # closed by who started us
        return iter(())
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="backslashreplace")
    return iter(partial(sys.stdin.readline, _LONGEST_LINE), "")


def numbers_from_lines(lines: Iterable[str], stop: threading.Event) -> Iterator[int | None]:
    """Yield parts' numbers, None for the next one, until the lines end or `stop` is set.

    A line is the part's number; an empty one takes the next. Anything else is said in the log and
    triggers nothing.

    Args:
        lines: waited for in a thread of their own.
        stop: ends it when set.
    """
    numbers: queue.Queue[int | None] = queue.Queue(_LINES)
    # A daemon: nobody can end a read of standard input.
    GuardedThread(partial(_read_numbers, lines, numbers), name="edge-lines").start()
    while not stop.is_set():
        try:
            number = numbers.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if number is None:
            return
        yield number or None


def _read_numbers(lines: Iterable[str], numbers: queue.Queue[int | None]) -> None:
    """Turn lines into numbers; 0 stands for the next one, None for the end."""
    waiting, is_cut = iter(lines), False
    while True:
        try:
            line = next(waiting, None)
        except UnicodeDecodeError as error:  # a line of another program's, or a broken cable
            LOG.warning("trigger %r: no text; nothing is triggered", error.object[:40])
            continue
        except OSError as error:
            LOG.error("triggers: %s; no more of them come", error)
            line = None
        if line is None:
            break
        was_cut, is_cut = is_cut, len(line) >= _LONGEST_LINE and not line.endswith("\n")
        if was_cut:  # the rest of a line that is told of
            continue
        if is_cut:
            LOG.warning(
                "trigger %r...: longer than a line may be; nothing is triggered up to its end",
                line[:40],
            )
            continue
        word = line.strip()
        if word and not (word.isascii() and word.isdigit() and len(word) <= 18):
            LOG.warning("trigger %r: no part's number; nothing is triggered", word[:40])
            continue
        numbers.put(int(word or 0))
    numbers.put(None)
