"""`edge stream --triggered`: each line on standard input triggers a part of every camera."""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from cameras.source import Source
from edge.service.input_watch import InputWatch
from edge.service.result_counts import ResultCounts
from edge.sinks.sink import Sink
from edge.sinks.threads import SinkThreads
from edge.stream.loop import CameraResults, sum_up
from edge.stream.summary import Summary
from edge.stream.triggered import FrameInspector, Triggered, TriggerOptions
from process.threads import GuardedThread

LOG = logging.getLogger("edge.stream.triggered")
_POLL_S = 0.05
_LINES = 1000
_LONGEST_LINE = 4096  # characters, the end of the line among them


@dataclass(frozen=True, slots=True)
class TriggeredCamera:
    """One camera of a triggered line.

    Attributes:
        name: empty where there is one alone.
        source: open; closed at the end.
        reopen: opens it again where it is live and has failed; None: a failure is for good.
        inspector: judges; the caller closes it.
        options: how many parts may be under way, and for how long.
        sinks: where its results go; the caller closes them.
        counts: of its results. Frames between parts are nobody's, and not counted as dropped.
        watch: of its pictures and scores; None where nobody watches.
    """

    name: str
    source: Source
    inspector: FrameInspector
    options: TriggerOptions
    sinks: Sequence[Sink] = ()
    counts: ResultCounts = field(default_factory=ResultCounts)
    watch: InputWatch | None = None
    reopen: Callable[[], Source] | None = None


def trigger_by_lines(
    cameras: Sequence[TriggeredCamera],
    lines: Iterable[str],
    *,
    sinks: Sequence[Sink] = (),
    max_parts: int | None = None,
    stop: threading.Event,
) -> Summary:
    """Inspect a part with every camera for each line, until the lines end.

    A line is the part's number; an empty one takes the next. Anything else is said in the log and
    triggers nothing.

    Args:
        cameras: each with a name of its own.
        lines: waited for in a thread of their own.
        sinks: where the results of all go; the caller closes them.
        max_parts: end after so many; None = no limit.
        stop: ends it when set, after the parts that are under way.
    """
    with contextlib.ExitStack() as stack:
        shared = stack.enter_context(SinkThreads(sinks, live=True, stop=stop))
        results: list[CameraResults] = []
        triggers: list[Triggered] = []
        for camera in cameras:
            own = CameraResults(
                camera.name,
                camera.sinks,
                shared,
                counts=camera.counts,
                watch=camera.watch,
                stop=stop,
            )
            results.append(stack.enter_context(own))
            triggered = Triggered(
                camera.inspector,
                camera.source,
                options=camera.options,
                reopen=camera.reopen,
                on_result=own.put,
            )
            triggers.append(stack.enter_context(triggered))
        for count, number in enumerate(_numbers_from_lines(lines, stop), start=1):
            for triggered in triggers:
                triggered.trigger(number)
            if count == max_parts:
                break
    return sum_up(results, shared, sinks)


def open_triggers() -> Iterator[str]:
    """Lines of standard input, a very long one in parts.

    A byte that is no text spoils its own line alone.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="backslashreplace")
    return iter(partial(sys.stdin.readline, _LONGEST_LINE), "")


def _numbers_from_lines(lines: Iterable[str], stop: threading.Event) -> Iterator[int | None]:
    """Yield parts' numbers, None for the next one, until the lines end or `stop` is set."""
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
