"""`edge stream`: cameras, their bundles, and where the results go."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

from cameras.connect import open_source
from cameras.errors import CameraError, SourceError
from cameras.source import Source
from edge import console
from edge.config import Config
from edge.fields import overlay
from edge.given import GivenSettings
from edge.health.frame_checker import FrameChecker
from edge.inspection.deadline import DeadlineRunner
from edge.inspection.engine_pool import EnginePool
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_in_use
from edge.options import DEADLINE_MS, PART_DEADLINE_MS, StreamOptions
from edge.result import Inspect, Say
from edge.service.camera_status import CameraStatus, StatusOptions
from edge.service.input_watch import InputWatch
from edge.service.line_triggers import open_triggers
from edge.service.result_counts import ResultCounts
from edge.service.signals import stop_on_signals
from edge.service.supervisor import Supervised, supervised
from edge.sinks.sink import Sink, refuse_source, refuse_watched
from edge.stream.cameras import CameraConfig, camera_configs
from edge.stream.loop import Camera, stream_cameras
from edge.stream.open_sinks import (
    camera_sinks,
    database_of,
    limits_of,
    record_path,
    shared_sinks,
)
from edge.stream.shadow import open_shadow
from edge.stream.summary import Summary
from edge.stream.trigger_lines import TriggeredCamera, trigger_by_lines
from edge.stream.triggered import TriggerOptions
from engines.bundle import Bundle
from engines.choose import engine_on
from process.signals import FINISHING_S, STARTING_S, end_within


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
    configs = camera_configs(given, config)
    options = overlay(StreamOptions, config.stream, given)
    end_within(STARTING_S)
    with (
        stop_on_signals() as stop,
        supervised(config, stop=stop, say=say, keep=options.keep) as service,
        ExitStack() as stack,
    ):
        opened = _open_cameras(configs, options, service, stack)
        shared = [
            stack.enter_context(sink)
            for sink in shared_sinks(options, {one.config.name: one.counts for one in opened})
        ]
        service.supervisor.add_shared_sinks(shared)
        service.supervisor.begin()
        end_within(FINISHING_S)
        if options.triggered:
            return trigger_by_lines(
                [_triggered_camera(camera, options) for camera in opened],
                open_triggers(),
                sinks=shared,
                max_parts=options.max_frames,
                stop=stop,
            )
        return stream_cameras(
            [_streamed_camera(camera) for camera in opened],
            sinks=shared,
            max_frames=options.max_frames,
            stop=stop,
        )


@dataclass(frozen=True, slots=True)
class _OpenedCamera:
    """A camera with all that it needs."""

    config: CameraConfig
    inspector: HotSwapInspector
    source: _SourceOpener
    sinks: Sequence[Sink]
    counts: ResultCounts
    watch: InputWatch


def _open_cameras(
    configs: Sequence[CameraConfig],
    options: StreamOptions,
    service: Supervised,
    stack: ExitStack,
) -> list[_OpenedCamera]:
    """Open inspectors, sources and the cameras' own sinks, and let them be watched over."""
    sharing = Counter((each.bundle, each.engine, each.device) for each in configs)
    most = max(sharing.values())
    pool = EnginePool(cameras=most, say=service.say) if len(configs) > 1 else None
    inspectors = [stack.enter_context(_open_inspector(each, pool)) for each in configs]
    for reason in dict.fromkeys(inspector.engine_reason for inspector in inspectors):
        service.say(reason)
    # A camera alone, or one that waits for triggers, is there from the start or not at all.
    openers = [
        _SourceOpener(
            each,
            recovers=bool(each.name) and not options.triggered,
            bit_depth=each.bit_depth or inspector.inspector.bundle.manifest.bit_depth,
        )
        for each, inspector in zip(configs, inspectors, strict=True)
    ]
    for opener in openers:
        stack.callback(opener.close)
    _open_sources(configs, openers, options)
    opened = []
    for each, inspector, opener in zip(configs, inspectors, openers, strict=True):
        own = camera_sinks(
            options,
            camera=each.name,
            rate_hz=opener.rate_hz,
            say=service.say,
            galleries=service.galleries,
        )
        sinks = [stack.enter_context(sink) for sink in own]
        sinks += [stack.enter_context(sink) for sink in _shadows(each, options, say=service.say)]
        counts = ResultCounts(live=opener.live)
        watch = InputWatch(
            each.name,
            inspector,
            running=(opener.live or opener.rate_hz is not None) and not options.triggered,
            rate_hz=None if opener.live else opener.rate_hz,
        )
        opened.append(_OpenedCamera(each, inspector, opener, sinks, counts, watch))
        # Results of triggers come with them: none is missed without one.
        expected = StatusOptions(opener.live and not options.triggered, each.stall_after)
        status = CameraStatus(
            each.name,
            inspector,
            counts=counts,
            options=expected,
            sinks=sinks,
            source_trouble=opener.trouble,
            watch=watch,
        )
        service.supervisor.add_camera(status, bundle=each.bundle)
    return opened


def _open_sources(
    configs: Sequence[CameraConfig], openers: Sequence[_SourceOpener], options: StreamOptions
) -> None:
    """Open the sources, all at once, and see that none of them delivers what we draw."""
    with ThreadPoolExecutor(len(openers)) as at_once:
        list(at_once.map(_SourceOpener.open_first, openers))
    for each in configs:
        if options.record is not None:
            refuse_source(record_path(options.record, each.name), (one.source for one in configs))
    if options.pictures is None:
        return
    for each, opener in itertools.product(configs, openers):
        refuse_watched(options.pictures / each.name, opener.latest)


def _shadows(
    camera: CameraConfig, options: StreamOptions, *, say: Say
) -> Iterator[AbstractContextManager[Sink]]:
    """The candidate that judges a camera's frames, if one does."""
    if options.shadow is not None:
        yield open_shadow(
            options.shadow,
            GivenSettings.from_options(camera),
            engine=engine_on(camera.engine, camera.device),
            name=camera.name,
            database=database_of(options),
            keep=options.keep,
            limits=limits_of(options),
            say=say,
        )


def _streamed_camera(camera: _OpenedCamera) -> Camera:
    return Camera(
        name=camera.config.name,
        open=partial(_open_source_and_judge, camera),
        threshold=camera.inspector.settings.threshold,
        live=camera.source.live,
        recovers=camera.source.recovers,
        sinks=camera.sinks,
        counts=camera.counts,
        watch=camera.watch,
    )


@contextlib.contextmanager
def _open_source_and_judge(camera: _OpenedCamera) -> Iterator[tuple[Source, Inspect]]:
    deadline_ms = camera.config.deadline_ms
    with (
        camera.source() as source,
        open_judge(camera.inspector, source, deadline_ms=deadline_ms) as inspect,
    ):
        yield source, inspect


def _triggered_camera(camera: _OpenedCamera, options: StreamOptions) -> TriggeredCamera:
    return TriggeredCamera(
        camera.config.name,
        camera.source(),
        camera.inspector,
        TriggerOptions(
            under_way=options.under_way,
            deadline_ms=camera.config.deadline_ms or PART_DEADLINE_MS,
            settle_ms=options.settle_ms,
        ),
        sinks=camera.sinks,
        counts=camera.counts,
        watch=camera.watch,
        reopen=camera.source,
    )


@contextlib.contextmanager
def open_judge(
    inspector: Inspector | HotSwapInspector, source: Source, *, deadline_ms: float | None = None
) -> Iterator[Inspect]:
    """What judges a source's frames: a live one's within a deadline, and not if it is frozen.

    Args:
        inspector: judges.
        source: open.
        deadline_ms: from a frame to its result; None: `DEADLINE_MS` where it is live, else none.
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
            inspect = FrameChecker(lambda: inspector.health, source).guard(inspect)
        yield inspect


class _SourceOpener:
    """Opens a camera's source: once before all begins, and again whenever it failed.

    Args:
        config: of the camera.
        recovers: whether one that does not answer at first is tried again later.
        bit_depth: of the values in 16-bit files; None is all 16.

    Attributes:
        rate_hz: of the source, where it is known.
        live: whether it is a camera; what does not answer is one.
        latest: what was opened last, whoever has it; None while it does not answer.
    """

    def __init__(
        self, config: CameraConfig, *, recovers: bool, bit_depth: int | None = None
    ) -> None:
        self.recovers = recovers
        self._bit_depth = bit_depth
        self.rate_hz: float | None = None
        self.live = True
        self._config = config
        self._source: Source | None = None
        self.latest: Source | None = None
        self._error: CameraError | None = None

    def open_first(self) -> None:
        """Open it.

        Raises:
            SourceError: what the user named is wrong.
            CameraError: it does not answer, and is not tried again.
        """
        try:
            self._source = self._open()
            self.rate_hz, self.live = self._source.rate_hz, self._source.live
        except CameraError as error:
            if isinstance(error, SourceError) or not self.recovers:
                raise
            self._error = error

    def __call__(self) -> Source:
        """Give what the first try came to, then open it anew each time."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        source, self._source = self._source, None
        return source if source is not None else self._open()

    def trouble(self) -> str:
        """What the source says is wrong although it works; empty if nothing, or it cannot say."""
        return str(getattr(self.latest, "trouble", ""))

    def close(self) -> None:
        """Release what nobody has taken."""
        if self._source is not None:
            self._source.close()

    def _open(self) -> Source:
        config, self.latest = self._config, None
        self.latest = open_source(
            config.source,
            stall_after=config.stall_after,
            options=config.options,
            bit_depth=self._bit_depth,
        )
        return self.latest


def _open_inspector(config: CameraConfig, pool: EnginePool | None) -> HotSwapInspector:
    return HotSwapInspector(partial(_load, config, pool), name=config.name or "inspector")


def _load(config: CameraConfig, pool: EnginePool | None) -> Inspector:
    bundle = Bundle.open(config.bundle)
    where = f"cameras.{config.name}" if config.name else "stream"
    given = GivenSettings.from_options(config, where=where)
    settings = settings_in_use(bundle, given, say=console.say)
    engine = engine_on(config.engine, config.device)
    if pool is not None:
        inspector = pool.inspector(bundle, settings=settings, engine=engine)
    else:
        with console.late_bar("compiling the plan") as progress:
            inspector = Inspector(
                bundle,
                settings=settings,
                engine=engine,
                say=console.say,
                progress=progress,
            )
    if config.health_off:
        inspector.health = inspector.health.without(*config.health_off)
    return inspector
