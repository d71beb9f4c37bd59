"""The loop for one camera: frames in, results out; capture, inference and writing overlap."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence

from cameras.frame import Frame
from edge.result import Inspect, OnResult
from edge.sinks.sink import Sink
from edge.sinks.threads import SinkThreads
from edge.sinks.window import WindowSink
from edge.stream.summary import Summary, Tally, summary_of

_POLL_S = 0.05


def stream(
    inspect: Inspect,
    source: Iterable[Frame],
    *,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
    on_result: OnResult | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Inspect frames until the source ends, or is told to.

    `inspect` runs in the caller's thread, sinks in others (`edge.sinks.threads`). When one is too
    slow, files wait for it; a live camera does not, and what could not be drawn is counted.

    Args:
        inspect: one frame's result; what it raises ends the stream.
        source: frames, or a `cameras.source.Source`; the caller closes it.
        sinks: where results go; the caller closes them.
        max_frames: end after so many; None = no limit.
        on_result: called with each frame and its result, in the caller's thread.
        stop: ends the stream when set, after the frame in hand.
    """
    stop = stop or threading.Event()
    live = bool(getattr(source, "live", False))
    windows = [sink for sink in sinks if isinstance(sink, WindowSink)]
    tally = Tally()
    with SinkThreads(sinks, live=live, stop=stop) as writers:
        for frame in frames_until(stop, source, max_frames=max_frames):
            result = inspect(frame)
            tally.add(frame, result, live=live)
            writers.put(result)
            if on_result is not None:
                on_result(frame, result)
            if not all(window.poll() for window in windows):
                break
    return summary_of(
        [tally],
        dropped=int(getattr(source, "dropped", 0)),
        not_drawn=writers.dropped,
        not_written=writers.lost + sum(sink.losses.count for sink in sinks),
    )


def frames_until(
    stop: threading.Event, source: Iterable[Frame], *, max_frames: int | None = None
) -> Generator[Frame, None, None]:
    """Yield frames up to a number or until told to stop, and end the source's iteration then.

    Args:
        stop: ends it, also while the source waits for its next frame: the source is closed then.
        source: whose frames.
        max_frames: so many; None = no limit.
    """
    frames = iter(source)
    count = 0
    with _closed_by(stop, source):
        try:
            while not stop.is_set() and (max_frames is None or count < max_frames):
                frame = next(frames, None)
                if frame is None or stop.is_set():
                    return
                count += 1
                yield frame
        finally:
            if isinstance(frames, Generator):
                frames.close()


@contextlib.contextmanager
def _closed_by(stop: threading.Event, source: Iterable[Frame]) -> Iterator[None]:
    """Close a source as soon as `stop` is set: it may be waiting for a picture that never comes."""
    close = getattr(source, "close", None)
    if close is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if stop.wait(_POLL_S):
                close()
                return

    watcher = threading.Thread(target=watch, name="edge-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
