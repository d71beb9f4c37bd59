"""`edge stream`: cameras, their bundles, and where the results go."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cameras.connect import open_source
from cameras.decode import image_from_file
from cameras.errors import CameraError, SourceError
from cameras.source import Source
from edge.config import Config, read_config
from edge.health_stream import StreamHealth
from edge.inspector import DEADLINE_MS, Inspector, settings_of
from edge.opening import open_bundle
from edge.pool import EnginePool
from edge.regions import IgnoreMask
from edge.sinks import Painter, PicturesSink, ResultsSink, Sink, SinkError, VideoSink
from edge.stream import Inspect, stop_on_signals, stream
from edge.streams import Camera, stream_all
from edge.tally import Summary
from edge.wanted import Wanted, Watch, first, wanted_cameras
from edge.window import WindowSink
from edge.within import Within
from engines.bundle import Bundle

RATE_HZ = 25.0  # of a recording whose source does not tell its own

Say = Callable[[str], None]


def watch(options: Watch, *, say: Say) -> Summary:
    """Inspect one or several sources until they end, a window is closed, or a signal comes.

    Raises:
        ConfigError: no source or no bundle.
        SourceError, CameraError, BundleError, EngineError, SinkError: as their modules say.
    """
    config = read_config()
    cameras = wanted_cameras(options, config)
    with stop_on_signals() as stop:
        if len(cameras) == 1 and not cameras[0].name:
            return _watch_one(cameras[0], options, config, say=say, stop=stop)
        return _watch_several(cameras, options, config, say=say, stop=stop)


def _watch_one(
    camera: Wanted, options: Watch, config: Config, *, say: Say, stop: threading.Event
) -> Summary:
    with contextlib.ExitStack() as stack:
        inspector = stack.enter_context(_inspector(camera, None))
        say(inspector.why_engine)
        source = stack.enter_context(_source(camera))
        wanted = _sinks(options, config, camera, rate_hz=source.rate_hz, say=say)
        shared = _shared_sinks(options, config)
        sinks = [stack.enter_context(sink) for sink in (*shared, *wanted)]
        inspect = stack.enter_context(judging(inspector, source, deadline_ms=camera.deadline_ms))
        return stream(inspect, source, sinks=sinks, max_frames=options.max_frames, stop=stop)


def _watch_several(
    cameras: Sequence[Wanted], options: Watch, config: Config, *, say: Say, stop: threading.Event
) -> Summary:
    with contextlib.ExitStack() as stack:
        pool = EnginePool(say=say) if len(cameras) > 1 else None
        inspectors = [stack.enter_context(_inspector(camera, pool)) for camera in cameras]
        for why in dict.fromkeys(inspector.why_engine for inspector in inspectors):
            say(why)
        openers = [_Opener(camera) for camera in cameras]
        with ThreadPoolExecutor(len(openers)) as at_once:
            for opener, _ in zip(openers, at_once.map(_Opener.try_first, openers), strict=True):
                stack.callback(opener.close)
        shared = [stack.enter_context(sink) for sink in _shared_sinks(options, config)]
        lanes = []
        for camera, inspector, opener in zip(cameras, inspectors, openers, strict=True):
            wanted = _sinks(options, config, camera, rate_hz=opener.rate_hz, say=say)
            sinks = [stack.enter_context(sink) for sink in wanted]
            lanes.append(_lane(camera, inspector, opener, sinks))
        return stream_all(lanes, sinks=shared, max_frames=options.max_frames, stop=stop)


def _lane(camera: Wanted, inspector: Inspector, opener: _Opener, sinks: Sequence[Sink]) -> Camera:
    return Camera(
        name=camera.name,
        open=opener,
        judging=lambda source: judging(inspector, source, deadline_ms=camera.deadline_ms),
        threshold=inspector.settings.threshold,
        sinks=sinks,
    )


@contextlib.contextmanager
def judging(
    inspector: Inspector, source: Source, *, deadline_ms: float | None = None
) -> Iterator[Inspect]:
    """What judges a source's frames: a live one's within a deadline, and not if it is frozen.

    Args:
        inspector: judges.
        source: open.
        deadline_ms: from a frame to its result; None: a second where it is live, else none.
    """
    with contextlib.ExitStack() as stack:
        inspect: Inspect = inspector.inspect
        if deadline_ms is None and source.live:
            deadline_ms = DEADLINE_MS
        if deadline_ms is not None:
            threshold = inspector.settings.threshold
            within = Within(inspect, deadline_ms=deadline_ms, threshold=threshold)
            inspect = stack.enter_context(within)
        yield StreamHealth(inspect, inspector.health) if source.live else inspect


class _Opener:
    """Opens a camera's source: once before all begins, and again whenever it failed."""

    def __init__(self, camera: Wanted) -> None:
        self._camera = camera
        self._source: Source | None = None
        self._error: CameraError | None = None
        self.rate_hz: float | None = None

    def try_first(self) -> None:
        """Open it; one that does not answer is tried again by its own thread.

        Raises:
            SourceError: what the user named is wrong.
        """
        try:
            self._source = _source(self._camera)
            self.rate_hz = self._source.rate_hz
        except SourceError:
            raise
        except CameraError as error:
            self._error = error

    def __call__(self) -> Source:
        """Give what the first try came to, then open it anew each time."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        source, self._source = self._source, None
        return source if source is not None else _source(self._camera)

    def close(self) -> None:
        """Release what nobody has taken."""
        if self._source is not None:
            self._source.close()


def _source(camera: Wanted) -> Source:
    return open_source(camera.source, stall_after=camera.stall_after, options=camera.options)


def _inspector(camera: Wanted, pool: EnginePool | None) -> Inspector:
    ignore = _mask(camera.ignore) if camera.ignore else None
    if pool is None:
        inspector = open_bundle(
            camera.bundle,
            engine=camera.engine,
            threshold=camera.threshold,
            min_area=camera.min_area,
            ignore=ignore,
        )
        if camera.roi is not None:
            inspector.settings = dataclasses.replace(inspector.settings, roi=camera.roi)
    else:
        bundle = Bundle.open(camera.bundle)
        settings = settings_of(
            bundle,
            threshold=camera.threshold,
            min_area=camera.min_area,
            ignore=ignore,
            roi=camera.roi,
        )
        inspector = pool.inspector(bundle, settings=settings, engine=camera.engine)
    if camera.health_off:
        inspector.health = inspector.health.without(*camera.health_off)
    return inspector


def _mask(path: Path) -> IgnoreMask:
    return np.asarray(cv2.cvtColor(image_from_file(path), cv2.COLOR_BGR2GRAY), np.uint8)


def _shared_sinks(options: Watch, config: Config) -> Iterator[Any]:
    """Where the results of all cameras go."""
    results = first(options.results, config.stream.results)
    if results is not None:
        yield ResultsSink(results)


def _sinks(
    options: Watch, config: Config, camera: Wanted, *, rate_hz: float | None, say: Say
) -> Iterator[Any]:
    """Where one camera's results go: a named one has its own files."""
    paint = Painter()
    record = first(options.record, config.stream.record)
    if record is not None:
        own = record.with_stem(f"{record.stem}-{camera.name}") if camera.name else record
        yield VideoSink(own, rate_hz=rate_hz or RATE_HZ, paint=paint)
    if options.pictures is not None:
        yield PicturesSink(options.pictures / camera.name, paint=paint)
    if options.show:
        yield WindowSink(paint=paint, camera=camera.name)
    elif options.show is None and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        try:
            window = WindowSink(paint=paint, camera=camera.name)
        except SinkError as error:
            say(f"no window: {error}")
        else:
            yield window
