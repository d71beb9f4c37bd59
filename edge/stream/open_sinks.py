"""Where the results of `edge stream` go: what the command line and `edge.toml` name is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge.config import StreamSection
from edge.service.gallery import Galleries
from edge.sinks.database import SqliteSink
from edge.sinks.disk_quota import MAX_BYTES, MIB, MIN_FREE_BYTES, DiskLimits
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.kept_parts import KeptPartsSink
from edge.sinks.pictures import PicturesSink
from edge.sinks.sink import Painter, SinkError
from edge.sinks.video import VideoSink
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
        yield JsonLinesSink(
            results,
            append=rotated is not None,
            max_bytes=None if rotated is None else rotated * MIB,
            backups=first(section.results_kept) or KEPT_FILES,
        )
    database = first(options.database, section.database)
    if database is not None:
        yield SqliteSink(database)


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
        path = _record_path(record, camera)
        limits = _disk_limits(section)
        yield VideoSink(path, rate_hz=rate_hz or RATE_HZ, paint=paint, limits=limits)
    if options.pictures is not None:
        yield PicturesSink(options.pictures / camera, paint=paint)
    keep = first(options.keep, section.keep)
    if keep is not None:
        yield KeptPartsSink(keep / camera, limits=_disk_limits(section))
    yield from _windows(options, paint=paint, camera=camera, say=say)


def _record_path(record: Path, camera: str) -> Path:
    """A camera's own video, or its own folder of segments where the name has no suffix."""
    if not record.suffix:
        return record / camera
    return record.with_stem(f"{record.stem}-{camera}") if camera else record


def _disk_limits(section: StreamSection) -> DiskLimits:
    most, free = section.keep_mb, section.keep_free_mb
    return DiskLimits(
        max_bytes=MAX_BYTES if most is None else most * MIB,
        min_free_bytes=MIN_FREE_BYTES if free is None else free * MIB,
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
