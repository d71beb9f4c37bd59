"""`edge stream --triggered`: each line on standard input triggers a part of every camera."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cameras.frame import Frame
from cameras.source import Source
from edge.result import OnResult, Result
from edge.sinks.sink import Sink
from edge.sinks.threads import SinkThreads
from edge.stream.summary import Summary, Tally, summary_of
from edge.stream.triggered import Inspects, Triggered, TriggerOptions

LOG = logging.getLogger("edge.stream.triggered")
_LOOK_S = 0.05
_LINES = 1000


@dataclass(frozen=True, slots=True)
class Post:
    """One camera of a triggered line.

    Attributes:
        name: empty where there is only one, unnamed.
        source: open; closed by whoever opened it, or at the end.
        inspector: judges; the caller closes it.
        options: how many parts may be under way, and for how long.
        sinks: where its results go; the caller closes them.
        on_result: called with each part's frame and result, in one thread.
    """

    name: str
    source: Source
    inspector: Inspects
    options: TriggerOptions
    sinks: Sequence[Sink] = ()
    on_result: OnResult | None = None


def trigger_by_lines(
    posts: Sequence[Post],
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
        posts: the cameras.
        lines: waited for in a thread of their own.
        sinks: where the results of all go; the caller closes them.
        max_parts: end after so many; None = no limit.
        stop: ends it when set, after the parts that are under way.
    """
    numbers: queue.Queue[int | None] = queue.Queue(_LINES)
    # A daemon: nobody can end a read of standard input.
    threading.Thread(target=_read, args=(lines, numbers), name="edge-lines", daemon=True).start()
    with contextlib.ExitStack() as stack:
        shared = stack.enter_context(SinkThreads(sinks, live=True, stop=stop))
        lanes = [_Lane(post, shared, stop=stop) for post in posts]
        for lane in lanes:
            stack.enter_context(lane.writers)
        parts = [stack.enter_context(lane.triggered()) for lane in lanes]
        for count, number in enumerate(_until(stop, numbers), start=1):
            for part in parts:
                part.trigger(number)
            if count == max_parts:
                break
    return _summary(lanes, shared, sinks)


def _summary(lanes: Sequence[_Lane], shared: SinkThreads, sinks: Sequence[Sink]) -> Summary:
    each = {lane.post.name: lane.summary() for lane in lanes}
    together = summary_of(
        [lane.tally for lane in lanes],
        dropped=sum(one.dropped for one in each.values()),
        not_drawn=shared.dropped + sum(one.not_drawn for one in each.values()),
        not_written=shared.lost
        + sum(sink.losses.count for sink in sinks)
        + sum(one.not_written for one in each.values()),
    )
    return together if "" in each else dataclasses.replace(together, cameras=each)


class _Lane:
    """One camera's results."""

    def __init__(self, post: Post, shared: SinkThreads, *, stop: threading.Event) -> None:
        self.post = post
        self.tally = Tally()
        self.writers = SinkThreads(post.sinks, live=True, stop=stop)
        self._shared = shared

    def triggered(self) -> Triggered:
        """Begin to take pictures."""
        return Triggered(
            self.post.inspector,
            self.post.source,
            options=self.post.options,
            on_result=self._take,
        )

    def summary(self) -> Summary:
        """What it came to; frames between parts are nobody's, and not counted as dropped."""
        return summary_of(
            [self.tally],
            dropped=0,
            not_drawn=self.writers.dropped,
            not_written=self.writers.lost + sum(sink.losses.count for sink in self.post.sinks),
        )

    def _take(self, frame: Frame, result: Result) -> None:
        named = dataclasses.replace(result, camera=self.post.name)
        self.tally.add(frame, named, live=self.post.source.live)
        self.writers.put(named)
        self._shared.put(named)
        if self.post.on_result is not None:
            self.post.on_result(frame, named)


def _read(lines: Iterable[str], numbers: queue.Queue[int | None]) -> None:
    """Lines become numbers; 0 stands for the next one, None for the end."""
    for line in lines:
        word = line.strip()
        if word and not (word.isascii() and word.isdigit() and len(word) <= 18):
            LOG.warning("trigger %r: no part's number; nothing is triggered", word[:40])
            continue
        numbers.put(int(word or 0))
    numbers.put(None)


def _until(stop: threading.Event, numbers: queue.Queue[int | None]) -> Iterable[int | None]:
    while not stop.is_set():
        try:
            number = numbers.get(timeout=_LOOK_S)
        except queue.Empty:
            continue
        if number is None:
            return
        yield number or None
