"""Where the results of `edge stream` go: what the command line and `edge.toml` name is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge.config import StreamSection
from edge.service.gallery import Galleries
from edge.sinks.database import DatabaseSink
from edge.sinks.disk_quota import LEAST_FREE_BYTES, MIB, MOST_BYTES
from edge.sinks.files import Painter, PicturesSink, ResultsSink, SinkError, VideoSink
from edge.sinks.kept_parts import KeepOptions, KeepSink
from edge.sinks.video_segments import SegmentsSink
from edge.sinks.window import WindowSink
from edge.stream.cameras import Watch, first

RATE_HZ = 25.0  # of a recording whose source does not tell its own
KEPT_FILES = 9

Say = Callable[[str], None]


def shared_sinks(options: Watch, section: StreamSection) -> Iterator[Any]:
    """Sinks that take the results of all cameras.

    Raises:
        SinkError: one cannot be opened.
    """
    results = first(options.results, section.results)
    if results is not None:
        rotated = section.results_mb
        yield ResultsSink(
            results,
            append=rotated is not None,
            most_bytes=None if rotated is None else rotated * MIB,
            kept=first(section.results_kept) or KEPT_FILES,
        )
    database = first(options.database, section.database)
    if database is not None:
        yield DatabaseSink(database)


def camera_sinks(
    options: Watch,
    section: StreamSection,
    *,
    camera: str,
    rate_hz: float | None,
    say: Say,
    galleries: Galleries | None = None,
) -> Iterator[Any]:
    """Sinks of one camera: a named one has its own files.

    Args:
        options: of the command line.
        section: of `edge.toml`.
        camera: its name; empty where there is one alone.
        rate_hz: of its source.
        say: is told why there is no window.
        galleries: of the page; None where there is none.

    Raises:
        SinkError: one cannot be opened.
    """
    if galleries is not None:
        yield galleries.gallery(camera)
    paint = Painter()
    record = first(options.record, section.record)
    if record is not None:
        yield _video(record, section, camera=camera, rate_hz=rate_hz or RATE_HZ, paint=paint)
    if options.pictures is not None:
        yield PicturesSink(options.pictures / camera, paint=paint)
    keep = first(options.keep, section.keep)
    if keep is not None:
        yield KeepSink(keep / camera, options=_keep_options(section))
    yield from _windows(options, paint=paint, camera=camera, say=say)


def _video(
    record: Path, section: StreamSection, *, camera: str, rate_hz: float, paint: Painter
) -> VideoSink | SegmentsSink:
    """One video, or pieces in a folder where the name has no suffix."""
    if record.suffix:
        own = record.with_stem(f"{record.stem}-{camera}") if camera else record
        return VideoSink(own, rate_hz=rate_hz, paint=paint)
    options = _keep_options(section)
    return SegmentsSink(
        record / camera,
        rate_hz=rate_hz,
        paint=paint,
        most_bytes=options.most_bytes,
        least_free_bytes=options.least_free_bytes,
    )


def _keep_options(section: StreamSection) -> KeepOptions:
    most, free = section.keep_mb, section.keep_free_mb
    return KeepOptions(
        most_bytes=MOST_BYTES if most is None else most * MIB,
        least_free_bytes=LEAST_FREE_BYTES if free is None else free * MIB,
        clip_s=section.clip_s or 0.0,
    )


def _windows(options: Watch, *, paint: Painter, camera: str, say: Say) -> Iterator[WindowSink]:
    """The window that was asked for; or one where there is a display and nobody said no."""
    if options.show:
        yield WindowSink(paint=paint, camera=camera)
    elif options.show is None and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        try:
            window = WindowSink(paint=paint, camera=camera)
        except SinkError as error:
            say(f"no window: {error}")
        else:
            yield window
