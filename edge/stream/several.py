"""The loop for several cameras: one thread for each, and what happens to one stays with it.

A camera that does not answer, stops, or whose inspection fails gives ERROR results of its own and
is tried again for ever; the others go on. Only what is wrong before the start, such as a path that
does not exist, ends all of it.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TypeAlias

from cameras.errors import CameraError, SourceError
from cameras.frame import Frame
from cameras.source import Source, frame_now
from edge.result import Inspect, OnResult, Result, error_from_frame
from edge.sinks.sink import Sink
from edge.sinks.threads import SinkThreads
from edge.sinks.window import WindowSink
from edge.stream.loop import frames_until
from edge.stream.summary import Summary, Tally, summary_of

LOG = logging.getLogger("edge.stream.loop")
PAUSES_S = (0.5, 1.0, 2.0, 5.0)
"""Seconds from a camera's failure to the next try, the last one for ever."""
STOP_S = 2.5
_LOOK_S = 0.02

Judging: TypeAlias = Callable[[Source], AbstractContextManager[Inspect]]


@dataclass(frozen=True, slots=True)
class Camera:
    """One of several cameras.

    Attributes:
        name: in results, files and messages.
        open: opens its source; called in its own thread, again after each failure.
        judging: what inspects the frames of an open source, released with it.
        threshold: of ERROR results while there is no source.
        sinks: where its results go; the caller closes them.
        on_result: called with each frame and its result, in the camera's thread.
    """

    name: str
    open: Callable[[], Source]
    judging: Judging
    threshold: float
    sinks: Sequence[Sink] = ()
    on_result: OnResult | None = None


def stream_all(
    cameras: Sequence[Camera],
    *,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Inspect the frames of several cameras until all have ended, or are told to.

    Args:
        cameras: each with a name of its own.
        sinks: where the results of all go, each camera's in order; the caller closes them.
        max_frames: of each camera; None = no limit.
        stop: ends the streams when set.

    Raises:
        SourceError: what a camera was told is wrong, found out at its first opening.
        ValueError: two cameras of one name, or none.
    """
    names = [camera.name for camera in cameras]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"cameras {', '.join(names) or 'none'}: give each a name of its own")
    stop = stop or threading.Event()
    every = [*sinks, *(sink for camera in cameras for sink in camera.sinks)]
    with ExitStack() as stack:
        # A camera among them must wait for no disk, so nothing here does.
        shared = stack.enter_context(SinkThreads(sinks, live=True, stop=stop))
        lanes = [_Lane(camera, shared, stop=stop, max_frames=max_frames) for camera in cameras]
        _run(lanes, stop, windows=[sink for sink in every if isinstance(sink, WindowSink)])
    return _summary(lanes, shared, sinks)


def _run(lanes: Sequence[_Lane], stop: threading.Event, *, windows: Sequence[WindowSink]) -> None:
    """Let them run; windows belong to this thread."""
    for lane in lanes:
        lane.start()
    try:
        while any(lane.is_alive() for lane in lanes) and not stop.is_set():
            if not all(window.poll() for window in windows):
                stop.set()
            stop.wait(_LOOK_S)
    finally:
        if any(lane.is_alive() for lane in lanes):
            stop.set()
        until = time.monotonic() + STOP_S
        for lane in lanes:
            lane.join(max(0.0, until - time.monotonic()))
            if lane.is_alive():
                LOG.warning("%s: hangs, and is left to itself", lane.name)
    for lane in lanes:
        if lane.wrong is not None:
            raise lane.wrong


def _summary(lanes: Sequence[_Lane], shared: SinkThreads, sinks: Sequence[Sink]) -> Summary:
    each = {
        lane.name: summary_of(
            [lane.tally],
            dropped=lane.dropped,
            not_drawn=lane.not_drawn,
            not_written=lane.not_written + sum(sink.losses.count for sink in lane.camera.sinks),
        )
        for lane in lanes
    }
    together = summary_of(
        [lane.tally for lane in lanes],
        dropped=sum(one.dropped for one in each.values()),
        not_drawn=shared.dropped + sum(one.not_drawn for one in each.values()),
        not_written=shared.lost
        + sum(sink.losses.count for sink in sinks)
        + sum(one.not_written for one in each.values()),
    )
    return dataclasses.replace(together, cameras=each)


class _Lane(threading.Thread):
    """One camera's thread.

    Attributes:
        dropped: frames captured and not inspected, of all its sources.
        not_drawn: results that were not drawn for lack of time.
        not_written: results that a sink never got.
        wrong: why it never could begin.
    """

    def __init__(
        self, camera: Camera, shared: SinkThreads, *, stop: threading.Event, max_frames: int | None
    ) -> None:
        # A daemon: an inspection that hangs must not keep the process from ending.
        super().__init__(name=camera.name, daemon=True)
        self.camera = camera
        self.tally = Tally()
        self.dropped = self.not_drawn = self.not_written = 0
        self.wrong: SourceError | None = None
        self._shared = shared
        self._writers: SinkThreads | None = None
        self._stop_all = stop
        self._left = max_frames
        self._opened = False
        self._live = True
        self._failures = 0

    def run(self) -> None:
        """Inspect, and open the camera again whenever it fails; then let the sinks end."""
        try:
            self._until_stopped()
        finally:
            if self._writers is not None:
                self._writers.close()
                self.not_drawn, self.not_written = self._writers.dropped, self._writers.lost

    def _until_stopped(self) -> None:
        while not self._stop_all.is_set():
            try:
                if self._through():
                    return
                reason = f"{self.camera.name}: the camera ended; it is opened again"
            except SourceError as error:
                if not self._opened:
                    self.wrong = error
                    self._stop_all.set()
                    return
                reason = str(error)
            except CameraError as error:
                reason = str(error)
            except Exception as error:
                # The border: a mistake in one camera's part must not end the others.
                LOG.exception("%s: failed", self.camera.name)
                reason = f"{self.camera.name}: {type(error).__name__}: {error}"
            if self._stop_all.is_set():
                return
            self._say_missing(reason)
            if not self._live:  # files would be inspected all over again
                return
            self._stop_all.wait(PAUSES_S[min(self._failures, len(PAUSES_S) - 1)])
            self._failures += 1

    def _through(self) -> bool:
        """Inspect one source to its end; whether that is the end of the camera's work too."""
        with self.camera.open() as source, self.camera.judging(source) as inspect:
            self._opened, self._live = True, source.live
            try:
                for frame in frames_until(self._stop_all, source, max_frames=self._left):
                    self._take(frame, inspect)
            finally:
                self.dropped += source.dropped
            return not source.live or self._left == 0

    def _take(self, frame: Frame, inspect: Inspect) -> None:
        if frame.image is not None:
            self._failures = 0
        try:
            result = inspect(frame)
        except Exception as error:
            # The border: what nobody foresaw costs this frame alone.
            LOG.exception("%s: an inspection failed", self.camera.name)
            reason = f"{type(error).__name__}: {error}"
            result = error_from_frame(frame, threshold=self.camera.threshold, reason=reason)
        if self._left is not None:
            self._left -= 1
        self._give(frame, result)

    def _say_missing(self, reason: str) -> None:
        """An ERROR result for the time without a source."""
        frame = frame_now(self.camera.name, self.tally.verdicts.total(), None, reason)
        result = error_from_frame(frame, threshold=self.camera.threshold)
        self._give(frame, result)

    def _give(self, frame: Frame, result: Result) -> None:
        named = dataclasses.replace(result, camera=self.camera.name)
        self.tally.add(frame, named, live=self._live)
        if self._writers is None:
            sinks = self.camera.sinks
            self._writers = SinkThreads(sinks, live=self._live, stop=self._stop_all)
        self._writers.put(named)
        self._shared.put(named)
        if self.camera.on_result is not None:
            self.camera.on_result(frame, named)
