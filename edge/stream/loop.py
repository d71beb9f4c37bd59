"""The loop for one camera or several: frames in, results out; a thread for each camera.

Capture, inference and writing overlap. Trouble of one of several cameras stays with it: one that
does not answer, stops, or whose inspection fails gives ERROR results of its own and is opened again
for ever, while the others go on. Only a mistake that is there from the start, such as a path that
does not exist, ends the whole stream.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from cameras.errors import CameraError, SourceError
from cameras.frame import Frame
from cameras.source import frame_now
from edge.inspection.failure_reason import reason_from_failure
from edge.result import Inspect, OnResult, Result, error_from_frame
from edge.service.input_watch import InputWatch
from edge.service.result_counts import ResultCounts
from edge.sinks.sink import Sink
from edge.sinks.threads import SinkThreads
from edge.sinks.window import WindowSink
from edge.stream.reopening import pause_after
from edge.stream.summary import Summary, summary_from_counts
from process.out_of_memory import is_out_of_memory
from process.threads import GuardedThread

LOG = logging.getLogger("edge.stream.loop")
STOP_S = 2.5
_POLL_S = 0.02

Frames: TypeAlias = Iterable[Frame]
"""A `cameras.source.Source`, or anything else that gives frames."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera, what inspects its frames, and where its results go.

    Attributes:
        name: in results, files and messages; empty where there is one alone.
        open: opens its source and what inspects its frames; called in the camera's thread.
        threshold: of ERROR results while there is no source.
        live: whether it waits for nobody; files wait for their sinks.
        recovers: whether a failure gives ERROR results and the source is opened again for ever;
            otherwise the first failure ends the stream.
        sinks: where its results go; the caller closes them.
        counts: of its results.
        watch: of its pictures and scores; None where nobody watches.
        on_result: called with each frame and its result, in the camera's thread.
    """

    name: str
    open: Callable[[], AbstractContextManager[tuple[Frames, Inspect]]]
    threshold: float
    live: bool
    recovers: bool = True
    sinks: Sequence[Sink] = ()
    counts: ResultCounts = field(default_factory=ResultCounts)
    watch: InputWatch | None = None
    on_result: OnResult | None = None


def stream(
    inspect: Inspect,
    source: Frames,
    *,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
    on_result: OnResult | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Inspect the frames of one source until it ends or `stop` is set; a failure ends it too.

    Args:
        inspect: one frame's result.
        source: frames; the caller closes it.
        sinks: where results go; the caller closes them.
        max_frames: end after so many; None = no limit.
        on_result: called with each frame and its result, in one thread.
        stop: ends the stream when set, after the frame in hand.

    Raises:
        Exception: what `inspect`, `source` or `on_result` raised, or a sink where frames wait for
            it.
    """
    live = bool(getattr(source, "live", False))
    alone = Camera(
        name="",
        open=lambda: contextlib.nullcontext((source, inspect)),
        threshold=0.0,
        live=live,
        recovers=False,
        counts=ResultCounts(live=live),
        on_result=on_result,
        sinks=sinks,
    )
    return stream_cameras([alone], max_frames=max_frames, stop=stop)


def stream_cameras(
    cameras: Sequence[Camera],
    *,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Inspect the frames of cameras until all have ended or `stop` is set.

    Args:
        cameras: each with a name of its own.
        sinks: where the results of all go, each camera's in order; the caller closes them.
        max_frames: of each camera; None = no limit.
        stop: ends the streams when set.

    Raises:
        SourceError: a camera's address or one of its options is wrong.
        ValueError: two cameras of one name, or none.
        Exception: raised by a camera that does not recover, or by a sink that files wait for.
    """
    names = [camera.name for camera in cameras]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"cameras {', '.join(names) or 'none'}: give each a name of its own")
    stop = stop or threading.Event()
    every = [*sinks, *(sink for camera in cameras for sink in camera.sinks)]
    # A camera among them must wait for no disk.
    with SinkThreads(sinks, live=any(camera.live for camera in cameras), stop=stop) as shared:
        threads = [CameraThread(camera, shared, stop, max_frames) for camera in cameras]
        _run(threads, stop, windows=[sink for sink in every if isinstance(sink, WindowSink)])
    return sum_up([thread.results for thread in threads], shared, sinks)


def _run(
    threads: Sequence[CameraThread], stop: threading.Event, *, windows: Sequence[WindowSink]
) -> None:
    """Run until all have ended or `stop` is set; windows belong to this thread."""
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(_POLL_S)
                for window in windows:
                    if not window.poll():
                        stop.set()
    finally:
        if any(thread.is_alive() for thread in threads):
            stop.set()
        for thread in threads:
            thread.close_source()
        until = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                LOG.warning("%s: did not stop; abandoning its thread", thread.name)
    for thread in threads:
        if thread.failure is not None:
            raise thread.failure


class CameraResults(AbstractContextManager["CameraResults"]):
    """Counts one camera's results, and hands them to its own sinks and to those of all cameras.

    Args:
        name: of the camera.
        sinks: its own; the caller closes them.
        shared: of all cameras.
        counts: of its results.
        stop: see `SinkThreads`.
        live: see `SinkThreads`.
        watch: of its pictures and scores; None where nobody watches.
        on_result: called with each frame and its result.
    """

    def __init__(
        self,
        name: str,
        sinks: Sequence[Sink],
        shared: SinkThreads,
        *,
        counts: ResultCounts,
        stop: threading.Event,
        live: bool = True,
        watch: InputWatch | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        self.name = name
        self.sinks = sinks
        self.counts = counts
        self._own = SinkThreads(sinks, live=live, stop=stop)
        self._shared = shared
        self._watch = watch
        self._on_result = on_result

    def put(self, frame: Frame, result: Result) -> None:
        """Take a frame's result; see `SinkThreads.put`."""
        if self.name:
            result = dataclasses.replace(result, camera=self.name)
        if self._watch is not None:
            result = self._watch.add(frame, result)
        self.counts.add(frame, result)
        self._own.put(result)
        self._shared.put(result)
        if self._on_result is not None:
            self._on_result(frame, result)

    def close(self) -> None:
        """Write what waits."""
        self._own.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def summary(self) -> Summary:
        """Sum up this camera's results."""
        return summary_from_counts(
            [self.counts],
            not_drawn=self._own.dropped,
            not_written=self._own.lost + sum(sink.losses.count for sink in self.sinks),
        )


def sum_up(cameras: Sequence[CameraResults], shared: SinkThreads, sinks: Sequence[Sink]) -> Summary:
    """Sum up the results of cameras: together, and of each where they have names.

    Args:
        cameras: their results.
        shared: what wrote to the sinks of all.
        sinks: those.
    """
    each = {camera.name: camera.summary() for camera in cameras}
    together = summary_from_counts(
        [camera.counts for camera in cameras],
        not_drawn=shared.dropped + sum(one.not_drawn for one in each.values()),
        not_written=shared.lost
        + sum(sink.losses.count for sink in sinks)
        + sum(one.not_written for one in each.values()),
    )
    return together if "" in each else dataclasses.replace(together, cameras=each)


class CameraThread(GuardedThread):
    """Inspects one camera's frames.

    Attributes:
        results: takes them.
        failure: what ended the thread, for whoever waits for it.
    """

    def __init__(
        self, camera: Camera, shared: SinkThreads, stop: threading.Event, max_frames: int | None
    ) -> None:
        # What ends one camera of several, or the only one, ends the stream.
        super().__init__(
            self._inspect_all, name=camera.name or "camera", on_failure=self._end, goes_on=False
        )
        self.results = CameraResults(
            camera.name,
            camera.sinks,
            shared,
            counts=camera.counts,
            watch=camera.watch,
            stop=stop,
            live=camera.live,
            on_result=camera.on_result,
        )
        self.failure: BaseException | None = None
        self._camera = camera
        self._stop_all = stop
        self._left = max_frames
        self._opened = False
        self._failures = 0  # since the last image
        self._source: Frames | None = None

    def _inspect_all(self) -> None:
        """Inspect until the camera's work is done, then let its sinks end."""
        try:
            with self.results, contextlib.closing(self._frames()) as frames:
                for frame, inspect in frames:
                    try:
                        result = inspect(frame)
                    except Exception as error:  # noqa: BLE001  # the border: see there
                        result = self._result_from_error(error, frame)
                    self.results.put(frame, result)
                    del result  # its picture lies in the camera's memory
        except Exception as error:  # noqa: BLE001  # the border: _run raises it
            self._end(error)

    def _end(self, error: BaseException) -> None:
        self.failure = error
        self._stop_all.set()

    def close_source(self) -> None:
        """Interrupt a wait for a picture that never comes; any thread may call."""
        close = getattr(self._source, "close", None)
        if self.is_alive() and close is not None:
            close()

    def _result_from_error(self, error: Exception, frame: Frame) -> Result:
        """The ERROR result of a frame whose inspection failed: the others go on.

        Raises:
            Exception: the failure itself, where it ends the stream.
        """
        if not self._camera.recovers and not is_out_of_memory(error):
            raise error
        reason = reason_from_failure(f"{self.name}: an inspection", error)
        return error_from_frame(frame, threshold=self._camera.threshold, reason=reason)

    def _frames(self) -> Generator[tuple[Frame, Inspect], None, None]:
        """Frames, and what inspects them; after a failure, one without an image that says why."""
        while not self._stop_all.is_set():
            try:
                yield from self._frames_of_one_source()
                if self._left == 0 or not (self._camera.live and self._camera.recovers):
                    return
                reason = f"{self.name}: the camera ended; opening it again"
            except Exception as error:  # noqa: BLE001  # the border: see there
                reason = self._reason_from_error(error)
            if self._stop_all.is_set():
                return
            missing = frame_now(self.name, self.results.counts.verdicts.total(), None, reason)
            yield missing, self._missing_result
            if not self._camera.live:  # files would be inspected all over again
                return
            self._stop_all.wait(pause_after(self._failures))
            self._failures += 1

    def _frames_of_one_source(self) -> Iterator[tuple[Frame, Inspect]]:
        with self._camera.open() as (source, inspect):
            self._opened, self._source = True, source
            counts, before = self.results.counts, self.results.counts.dropped
            frames = iter(source)
            try:
                while self._left != 0 and not self._stop_all.is_set():
                    frame = next(frames, None)
                    if frame is None or self._stop_all.is_set():
                        return
                    counts.dropped = max(counts.dropped, before + getattr(source, "dropped", 0))
                    self._failures = self._failures if frame.image is None else 0
                    self._left = None if self._left is None else self._left - 1
                    yield frame, inspect
            finally:
                counts.dropped = max(counts.dropped, before + getattr(source, "dropped", 0))
                if isinstance(frames, Generator):
                    frames.close()

    def _missing_result(self, frame: Frame) -> Result:
        return error_from_frame(frame, threshold=self._camera.threshold)

    def _reason_from_error(self, error: Exception) -> str:
        """The reason that ERROR results get while the camera is being opened again.

        Raises:
            Exception: the failure itself, where it ends the stream.
        """
        if self._stop_all.is_set():  # closed while it was read
            return ""
        if not self._camera.recovers or (isinstance(error, SourceError) and not self._opened):
            raise error
        if isinstance(error, CameraError):
            return str(error)
        # The border: a mistake in one camera's part must not end the others.
        LOG.error("%s: failed", self.name, exc_info=error)
        return f"{self.name}: {type(error).__name__}: {error}"
