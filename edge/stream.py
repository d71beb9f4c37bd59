"""The loop: frames in, results out; capture, inference and writing overlap."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from cameras.frame import Frame
from edge.result import Result, Verdict
from edge.sinks import Sink
from edge.window import WindowSink
from edge.writer import Writer

_LATENCIES_KEPT = 100_000
_RECORDS_WAITING = 10_000
_PICTURES_WAITING = 8


@dataclass(frozen=True, slots=True)
class Summary:
    """What a stream came to.

    Attributes:
        frames: frames inspected, ERROR included.
        ok: how many were OK.
        ng: how many were NG.
        error: how many were ERROR.
        dropped: captured and not inspected, because a newer frame won (live only).
        not_drawn: inspected, but not drawn for lack of time (live only).
        not_written: results that a sink could not write.
        seconds: from the start to the last result.
        rate_hz: frames inspected per second.
        latency_ms: p50, p95, p99 of the last 100 000 frames: from capture to result for a live
            source, from prepare to decide for files. None without any frame that had an image.
    """

    frames: int
    ok: int
    ng: int
    error: int
    dropped: int
    not_drawn: int
    not_written: int
    seconds: float
    rate_hz: float
    latency_ms: dict[str, float] | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only."""
        return {
            **dataclasses.asdict(self),
            "seconds": round(self.seconds, 3),
            "rate_hz": round(self.rate_hz, 3),
        }


def stream(
    inspect: Callable[[Frame], Result],
    source: Iterable[Frame],
    *,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
    on_result: Callable[[Result], None] | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Inspect frames until the source ends, or is told to.

    The source reads ahead in its own thread, `inspect` runs in the caller's, and sinks write in
    two more: one for those that must get every result, which get it without its pictures, and one
    for those that draw. When a sink is too slow, files wait for it; a live camera does not, and
    what could not be drawn is counted.

    Args:
        inspect: one frame's result; what it raises ends the stream.
        source: frames, with `live` and `dropped` if it is a `cameras.source.Source`; the caller
            closes it.
        sinks: where results go; the caller closes them.
        max_frames: end after so many; None = no limit.
        on_result: called with each result, in the caller's thread.
        stop: ends the stream when set, after the frame in hand.
    """
    stop = stop or threading.Event()
    live = bool(getattr(source, "live", False))
    windows = [sink for sink in sinks if isinstance(sink, WindowSink)]
    tally = _Tally(live)
    with contextlib.ExitStack() as stack:
        records = Writer([sink for sink in sinks if sink.lossless], waiting=_RECORDS_WAITING)
        pictures = Writer(
            [sink for sink in sinks if not sink.lossless], waiting=_PICTURES_WAITING, drops=live
        )
        stack.enter_context(records)
        stack.enter_context(pictures)
        for frame in _until(source, max_frames=max_frames, stop=stop):
            result = inspect(frame)
            tally.add(frame, result)
            if records.sinks:
                records.put(dataclasses.replace(result, image=None, anomaly_map=None))
            pictures.put(result)
            if on_result is not None:
                on_result(result)
            if not all(window.poll() for window in windows):
                break
    return tally.summary(
        dropped=int(getattr(source, "dropped", 0)),
        not_drawn=pictures.dropped,
        not_written=sum(sink.lost for sink in sinks),
    )


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; a second one does what it did before.

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


def _until(
    source: Iterable[Frame], *, max_frames: int | None, stop: threading.Event
) -> Generator[Frame, None, None]:
    """Yield frames up to a number or until told to stop, and end the source's iteration then."""
    frames = iter(source)
    count = 0
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


class _Tally:
    """Counts verdicts and keeps the latest latencies."""

    def __init__(self, live: bool) -> None:
        self._live = live
        self._verdicts: Counter[Verdict] = Counter()
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._began = self._ended = time.monotonic()

    def add(self, frame: Frame, result: Result) -> None:
        self._ended = time.monotonic()
        self._verdicts[result.verdict] += 1
        if frame.image is None:
            return
        if self._live:
            self._latencies.append((time.monotonic_ns() - frame.monotonic_ns) / 1e6)
        elif result.speed:
            self._latencies.append(sum(result.speed.values()))

    def summary(self, *, dropped: int, not_drawn: int, not_written: int) -> Summary:
        frames = sum(self._verdicts.values())
        seconds = self._ended - self._began
        return Summary(
            frames=frames,
            ok=self._verdicts[Verdict.OK],
            ng=self._verdicts[Verdict.NG],
            error=self._verdicts[Verdict.ERROR],
            dropped=dropped,
            not_drawn=not_drawn,
            not_written=not_written,
            seconds=seconds,
            rate_hz=frames / seconds if seconds > 0 else 0.0,
            latency_ms=self._quantiles(),
        )

    def _quantiles(self) -> dict[str, float] | None:
        if not self._latencies:
            return None
        found = np.percentile(np.array(self._latencies), [50, 95, 99]).tolist()
        return {name: round(ms, 3) for name, ms in zip(("p50", "p95", "p99"), found, strict=True)}
