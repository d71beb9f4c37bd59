"""`edge stream`: a source, a bundle, and where the results go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from cameras.connect import open_source
from cameras.decode import image_from_file
from edge.config import Config, ConfigError, find_bundle, read_config
from edge.inspector import Inspector
from edge.opening import open_bundle
from edge.regions import IgnoreMask
from edge.sinks import Painter, PicturesSink, ResultsSink, SinkError, VideoSink
from edge.stream import stop_on_signals, stream
from edge.tally import Summary
from edge.window import WindowSink

Value = TypeVar("Value")
STALL_AFTER = 1.0  # s
RATE_HZ = 25.0  # of a recording whose source does not tell its own


@dataclass(frozen=True, slots=True)
class Watch:
    """What the user asked for; None takes `edge.toml`'s word, then the default."""

    source: str | None = None
    bundle: Path | None = None
    engine: str | None = None
    show: bool | None = None
    record: Path | None = None
    results: Path | None = None
    pictures: Path | None = None
    threshold: float | None = None
    min_area: int | None = None
    ignore: Path | None = None
    max_frames: int | None = None
    stall_after: float | None = None


def watch(options: Watch, *, say: Callable[[str], None]) -> Summary:
    """Inspect a source until it ends, the window is closed, or a signal comes.

    Raises:
        ConfigError: no source or no bundle.
        SourceError, CameraError, BundleError, EngineError, SinkError: as their modules say.
    """
    config = read_config()
    source = _first(options.source, config.stream.source)
    if source is None:
        raise ConfigError(
            "no source: name one, such as /dev/video0, or set stream.source in edge.toml"
        )
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        inspector = stack.enter_context(_inspector(options, config))
        say(inspector.why_engine)
        stall_after = _first(options.stall_after, config.stream.stall_after) or STALL_AFTER
        frames = stack.enter_context(open_source(source, stall_after=stall_after))
        wanted = _sinks(options, config, frames.rate_hz or RATE_HZ, say)
        sinks = [stack.enter_context(sink) for sink in wanted]
        return stream(
            inspector.inspect,
            frames,
            sinks=sinks,
            max_frames=options.max_frames,
            stop=stop,
        )


def _first(*values: Value | None) -> Value | None:
    return next((value for value in values if value is not None), None)


def _inspector(options: Watch, config: Config) -> Inspector:
    ignore = _first(options.ignore, config.stream.ignore)
    return open_bundle(
        find_bundle(options.bundle, config),
        engine=_first(options.engine, config.stream.engine, "auto") or "auto",
        threshold=_first(options.threshold, config.stream.threshold),
        min_area=_first(options.min_area, config.stream.min_area),
        ignore=_mask(ignore) if ignore else None,
    )


def _mask(path: Path) -> IgnoreMask:
    return np.asarray(cv2.cvtColor(image_from_file(path), cv2.COLOR_BGR2GRAY), np.uint8)


def _sinks(
    options: Watch, config: Config, rate_hz: float, say: Callable[[str], None]
) -> Iterator[Any]:
    paint = Painter()
    results = _first(options.results, config.stream.results)
    if results is not None:
        yield ResultsSink(results)
    record = _first(options.record, config.stream.record)
    if record is not None:
        yield VideoSink(record, rate_hz=rate_hz, paint=paint)
    if options.pictures is not None:
        yield PicturesSink(options.pictures, paint=paint)
    if options.show:
        yield WindowSink(paint=paint)
    elif options.show is None and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        try:
            window = WindowSink(paint=paint)
        except SinkError as error:
            say(f"no window: {error}")
        else:
            yield window
