"""`edge stream --triggered`: each line on standard input triggers a part of every camera."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cameras.source import Source
from edge.service.input_watch import InputWatch
from edge.service.line_triggers import numbers_from_lines
from edge.service.result_counts import ResultCounts
from edge.sinks.sink import Sink
from edge.sinks.threads import SinkThreads
from edge.stream.loop import CameraResults, sum_up
from edge.stream.summary import Summary
from edge.stream.triggered import FrameInspector, Triggered, TriggerOptions


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
        for count, number in enumerate(numbers_from_lines(lines, stop), start=1):
            for triggered in triggers:
                triggered.trigger(number)
            if count == max_parts:
                break
    return sum_up(results, shared, sinks)
