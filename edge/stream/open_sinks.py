"""Opens the sinks that the command line and `edge.toml` name."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from edge.options import RecordOptions, StreamOptions
from edge.result import Say
from edge.service.gallery import Galleries
from edge.service.result_counts import ResultCounts
from edge.sinks.database import DATABASE, SqliteSink, count_of_day
from edge.sinks.disk_quota import MIB, DiskLimits
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.kept_parts import KeptPartsSink, folder_of
from edge.sinks.pictures import PicturesSink
from edge.sinks.sink import Painter, SinkError
from edge.sinks.video import VideoSink
from edge.sinks.window import WindowSink

RATE_HZ = 25.0  # of a recording whose source does not tell its own


def shared_sinks(options: RecordOptions, counts: Mapping[str, ResultCounts]) -> Iterator[Any]:
    """Sinks that take the results of all cameras.

    Args:
        options: where they go.
        counts: by camera; those of the day go on where an earlier run's ended.

    Raises:
        SinkError: one cannot be opened.
    """
    if options.results is not None:
        limit = options.results_mb * MIB
        yield JsonLinesSink(options.results, max_bytes=limit, backups=options.results_kept)
    yield from database_sinks(options, counts)


def database_sinks(
    options: RecordOptions, counts: Mapping[str, ResultCounts]
) -> Iterator[SqliteSink]:
    """The database, if there is one; see `shared_sinks`."""

    def continue_days(database: sqlite3.Connection) -> None:
        today = date.today()
        for camera, counted in counts.items():
            counted.continue_day(today, count_of_day(database, camera, today))

    path = database_of(options)
    if path is not None:
        yield SqliteSink(path, on_begin=continue_days)


def database_of(options: RecordOptions) -> Path | None:
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
    if options.record is not None:
        yield recording(options, camera, rate_hz=rate_hz, paint=paint)
    if options.keep is not None:
        yield kept_parts(options, camera)
    if options.pictures is not None:
        yield PicturesSink(options.pictures / camera, paint=paint)
    yield from _windows(options, paint=paint, camera=camera, say=say)


def recording(
    options: RecordOptions, camera: str, *, rate_hz: float | None = None, paint: Painter
) -> VideoSink:
    """The recording of a camera or station, which is asked for.

    Raises:
        SinkError: it cannot be written.
    """
    assert options.record is not None
    path = record_path(options.record, camera)
    return VideoSink(path, rate_hz=rate_hz or RATE_HZ, paint=paint, limits=limits_of(options))


def kept_parts(options: RecordOptions, camera: str) -> KeptPartsSink:
    """The kept parts of a camera or station, which are asked for.

    Raises:
        SinkError: they cannot be written.
    """
    assert options.keep is not None
    folder = folder_of(options.keep, camera)
    return KeptPartsSink(folder, limits=limits_of(options), share_ok=options.keep_ok)


def limits_of(options: RecordOptions) -> DiskLimits:
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
