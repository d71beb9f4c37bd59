"""`edge stream`: cameras, their bundles, and where the results go."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cameras.connect import open_source
from cameras.errors import CameraError, SourceError
from cameras.image_files import image_from_file
from cameras.source import Source
from edge.config import Config
from edge.health.frozen import StreamHealth
from edge.inspection.deadline import DeadlineRunner
from edge.inspection.engine_pool import EnginePool
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import (
    DEADLINE_MS,
    Inspector,
    load_with_progress,
    settings_from_bundle,
)
from edge.inspection.verdict import IgnoreMask
from edge.options import StreamOptions, overlay
from edge.result import Inspect
from edge.service.camera_status import Pulse, PulseOptions
from edge.service.living import Living, living
from edge.service.signals import stop_on_signals
from edge.service.supervisor import Life
from edge.sinks.sink import Sink
from edge.stream.cameras import CameraConfig, camera_configs
from edge.stream.loop import stream
from edge.stream.open_sinks import camera_sinks, shared_sinks
from edge.stream.several import Camera, stream_all
from edge.stream.summary import Summary
from edge.stream.trigger_lines import Post, trigger_by_lines
from edge.stream.triggered import PART_DEADLINE_MS, TriggerOptions
from engines.bundle import Bundle

Say = Callable[[str], None]


def run_streams(given: StreamOptions, config: Config, *, say: Say) -> Summary:
    """Inspect one or several sources until they end, a window is closed, or a signal comes.

    Args:
        given: on the command line, which wins over the file.
        config: `edge.toml`.
        say: takes lines for people.

    Raises:
        ConfigError: no source or no bundle.
        SourceError, CameraError, BundleError, EngineError, SinkError: as their modules say.
    """
    cameras = camera_configs(given, config)
    with stop_on_signals() as stop, living(config, stop=stop, say=say) as lived:
        run = _Run(overlay(StreamOptions, config.stream, given), lived, stop)
        if run.options.triggered:
            return _watch_triggered(cameras, run)
        if len(cameras) == 1 and not cameras[0].name:
            return _watch_one(cameras[0], run)
        return _watch_several(cameras, run)


@dataclass(frozen=True, slots=True)
class _Run:
    """What all cameras of one run share."""

    options: StreamOptions
    living: Living
    stop: threading.Event

    @property
    def life(self) -> Life:
        """Watches over it."""
        return self.living.life

    @property
    def say(self) -> Say:
        """Takes lines for people."""
        return self.living.say

    def sinks(self, camera: str, rate_hz: float | None) -> Iterator[Any]:
        """Sinks of one camera, to be closed."""
        return camera_sinks(
            self.options,
            camera=camera,
            rate_hz=rate_hz,
            say=self.say,
            galleries=self.living.galleries,
        )


def _watch_one(camera: CameraConfig, run: _Run) -> Summary:
    with contextlib.ExitStack() as stack:
        inspector = stack.enter_context(_exchange(camera, None))
        run.say(inspector.engine_reason)
        source = stack.enter_context(_source(camera))
        shared = [stack.enter_context(sink) for sink in shared_sinks(run.options)]
        run.life.share(shared)
        own = [stack.enter_context(sink) for sink in run.sinks("", source.rate_hz)]
        inspect = stack.enter_context(judging(inspector, source, deadline_ms=camera.deadline_ms))
        pulse = _pulse(camera, inspector, run, live=source.live, sinks=own)
        run.life.begin()
        return stream(
            inspect,
            source,
            sinks=[*shared, *own],
            max_frames=run.options.max_frames,
            on_result=pulse.result,
            stop=run.stop,
        )


def _watch_several(cameras: Sequence[CameraConfig], run: _Run) -> Summary:
    with contextlib.ExitStack() as stack:
        pool = EnginePool(say=run.say) if len(cameras) > 1 else None
        inspectors = [stack.enter_context(_exchange(camera, pool)) for camera in cameras]
        for why in dict.fromkeys(inspector.engine_reason for inspector in inspectors):
            run.say(why)
        openers = [_Opener(camera) for camera in cameras]
        with ThreadPoolExecutor(len(openers)) as at_once:
            for opener, _ in zip(openers, at_once.map(_Opener.try_first, openers), strict=True):
                stack.callback(opener.close)
        shared = [stack.enter_context(sink) for sink in shared_sinks(run.options)]
        run.life.share(shared)
        lanes = []
        for camera, inspector, opener in zip(cameras, inspectors, openers, strict=True):
            own = run.sinks(camera.name, opener.rate_hz)
            sinks = [stack.enter_context(sink) for sink in own]
            pulse = _pulse(camera, inspector, run, live=opener.live, sinks=sinks)
            lanes.append(_lane(camera, inspector, opener, pulse))
        run.life.begin()
        return stream_all(lanes, sinks=shared, max_frames=run.options.max_frames, stop=run.stop)


def _watch_triggered(cameras: Sequence[CameraConfig], run: _Run) -> Summary:
    with contextlib.ExitStack() as stack:
        pool = EnginePool(say=run.say) if len(cameras) > 1 else None
        posts = [_post(camera, pool, run, stack) for camera in cameras]
        shared = [stack.enter_context(sink) for sink in shared_sinks(run.options)]
        run.life.share(shared)
        run.life.begin()
        return trigger_by_lines(
            posts, sys.stdin, sinks=shared, max_parts=run.options.max_frames, stop=run.stop
        )


def _post(
    camera: CameraConfig, pool: EnginePool | None, run: _Run, stack: contextlib.ExitStack
) -> Post:
    exchange = stack.enter_context(_exchange(camera, pool))
    run.say(exchange.engine_reason)
    source = stack.enter_context(_source(camera))
    sinks = [stack.enter_context(sink) for sink in run.sinks(camera.name, source.rate_hz)]
    # Not live: results come with triggers, and none is missed without one.
    pulse = _pulse(camera, exchange, run, live=False, sinks=sinks)
    options = TriggerOptions(
        under_way=run.options.under_way,
        deadline_ms=camera.deadline_ms or PART_DEADLINE_MS,
        settle_ms=run.options.settle_ms,
    )
    return Post(camera.name, source, exchange, options, sinks, pulse.result)


def _pulse(
    camera: CameraConfig,
    exchange: HotSwapInspector,
    run: _Run,
    *,
    live: bool,
    sinks: Sequence[Sink],
) -> Pulse:
    """What counts a camera's results, and is watched over."""
    return run.life.camera(
        camera.name,
        exchange,
        options=PulseOptions(live=live, stall_after_s=camera.stall_after),
        sinks=sinks,
        bundle=camera.bundle,
    )


def _lane(
    camera: CameraConfig, exchange: HotSwapInspector, opener: _Opener, pulse: Pulse
) -> Camera:
    return Camera(
        name=camera.name,
        open=opener,
        judging=lambda source: judging(exchange, source, deadline_ms=camera.deadline_ms),
        threshold=exchange.settings.threshold,
        sinks=pulse.sinks,
        on_result=pulse.result,
    )


@contextlib.contextmanager
def judging(
    inspector: Inspector | HotSwapInspector, source: Source, *, deadline_ms: float | None = None
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
            within = DeadlineRunner(inspect, deadline_ms=deadline_ms, threshold=threshold)
            inspect = stack.enter_context(within)
        if source.live:
            inspect = StreamHealth(inspect, lambda: inspector.health, source)
        yield inspect


class _Opener:
    """Opens a camera's source: once before all begins, and again whenever it failed."""

    def __init__(self, camera: CameraConfig) -> None:
        self._camera = camera
        self._source: Source | None = None
        self._error: CameraError | None = None
        self.rate_hz: float | None = None
        self.live = True  # what does not answer is a camera

    def try_first(self) -> None:
        """Open it; one that does not answer is tried again by its own thread.

        Raises:
            SourceError: what the user named is wrong.
        """
        try:
            self._source = _source(self._camera)
            self.rate_hz, self.live = self._source.rate_hz, self._source.live
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


def _source(camera: CameraConfig) -> Source:
    return open_source(camera.source, stall_after=camera.stall_after, options=camera.options)


def _exchange(camera: CameraConfig, pool: EnginePool | None) -> HotSwapInspector:
    return HotSwapInspector(lambda: _inspector(camera, pool), name=camera.name or "inspector")


def _inspector(camera: CameraConfig, pool: EnginePool | None) -> Inspector:
    ignore = _mask(camera.ignore) if camera.ignore else None
    if pool is None:
        inspector = load_with_progress(
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
        settings = settings_from_bundle(
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
