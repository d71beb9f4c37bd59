"""Opens the sinks that the command line and `edge.toml` name for `edge stream`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.options import StreamOptions
from edge.result import Say
from edge.service.gallery import Galleries
from edge.sinks.database import DATABASE, SqliteSink
from edge.sinks.disk_quota import MIB, DiskLimits
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.kept_parts import KeptPartsSink
from edge.sinks.pictures import PicturesSink
from edge.sinks.sink import Painter, SinkError
from edge.sinks.video import VideoSink
from edge.sinks.window import WindowSink

RATE_HZ = 25.0  # of a recording whose source does not tell its own


def shared_sinks(options: StreamOptions) -> Iterator[Any]:
    """Sinks that take the results of all cameras.

    Raises:
        SinkError: one cannot be opened.
    """
    if options.results is not None:
        limit = options.results_mb * MIB
        yield JsonLinesSink(options.results, max_bytes=limit, backups=options.results_kept)
    database = database_of(options)
    if database is not None:
        yield SqliteSink(database)


def database_of(options: StreamOptions) -> Path | None:
    """Where every result has its row: the folder of kept parts has a database, too."""
    if options.database is None and options.keep is not None:
        return options.keep / DATABASE
    return options.database


def camera_sinks(
    options: StreamOptions,
    *,
    camera: str,
    rate_hz: float | None,
    say: Say,
    galleries: Galleries | None = None,
) -> Iterator[Any]:
    """Sinks of one camera: a named one has its own files.

    Args:
        options: where they go.
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
    limits = limits_of(options)
    if options.record is not None:
        path = record_path(options.record, camera)
        yield VideoSink(path, rate_hz=rate_hz or RATE_HZ, paint=paint, limits=limits)
    if options.pictures is not None:
        yield PicturesSink(options.pictures / camera, paint=paint)
    if options.keep is not None:
        yield KeptPartsSink(options.keep / camera, limits=limits, share_ok=options.keep_ok)
    yield from _windows(options, paint=paint, camera=camera, say=say)


def limits_of(options: StreamOptions) -> DiskLimits:
    """Of each folder that fills up by itself."""
    return DiskLimits(max_bytes=options.keep_mb * MIB, min_free_bytes=options.keep_free_mb * MIB)


def record_path(record: Path, camera: str) -> Path:
    """A camera's own video, or its own folder of segments where the name has no suffix."""
    if not record.suffix:
        return record / camera
    return record.with_stem(f"{record.stem}-{camera}") if camera else record


def _windows(
    options: StreamOptions, *, paint: Painter, camera: str, say: Say
) -> Iterator[WindowSink]:
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
