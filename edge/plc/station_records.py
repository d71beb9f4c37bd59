"""Where a station's results go: a row and a line for each, from the process that answers the PLC.

Whatever becomes of the worker, or of a disk, each part that was answered is here; threads behind
queues write, so that no disk delays a PLC.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from cameras.redaction import looks_like_address, printable_path, redact_address
from edge.config import Config
from edge.options import RecordOptions
from edge.plc.station.decided_part import DecidedLinesSink, PictureAddresses
from edge.plc.station.messages import JudgeOptions, RecorderOptions
from edge.service.http_routes import DrawnResult
from edge.service.result_counts import ResultCounts
from edge.service.shown_pictures import ShownPictures
from edge.sinks.database import SHADOW
from edge.sinks.disk_quota import MIB
from edge.sinks.kept_parts import drawn_picture, folder_of
from edge.sinks.locks import PlaceLock
from edge.sinks.sink import Sink, SinkError, open_folder, refuse_source
from edge.sinks.threads import SinkThreads
from edge.stream.open_sinks import database_of, database_sinks, record_path
from engines.bundle import Bundle


def shown_source(source: str) -> str:
    """A station's source as records have it: without passwords."""
    return redact_address(source) if looks_like_address(source) else printable_path(source)


def recorder_options(config: Config, judge: JudgeOptions) -> RecorderOptions | None:
    """What the worker does with pictures; None where they go nowhere."""
    station, page = config.station, config.life.monitor is not None
    if not (page or station.keep or station.record or station.shadow):
        return None
    records = station.model_dump(
        mode="json", exclude_none=True, include={*RecordOptions.model_fields}
    )
    return RecorderOptions(
        station=station.name,
        source=shown_source(judge.source),
        records=records,
        page=page,
        recipe_id=station.recipe,
        given=judge.given_for(station.recipe),
        engine=judge.engine,
    )


def picture_addresses(config: Config, judge: JudgeOptions) -> PictureAddresses:
    """Where rejected parts can be seen; the page is known once it is open."""
    return PictureAddresses(shown_source(judge.source), keeps=config.station.keep is not None)


def page_address(config: Config, host: str, port: int) -> str:
    """What addresses of pictures begin with.

    The name by which others reach this machine, where one is given; of an address that stands for
    all of a machine's, nothing but the path is known.
    """
    named = config.life.monitor_hosts
    if named:
        return f"http://{named[0]}" if ":" in named[0] else f"http://{named[0]}:{port}"
    return "" if host in ("0.0.0.0", "[::]") else f"http://{host}:{port}"


class StationPictures:
    """The pictures of a station's page; see `edge.service.http_routes.Pictures`.

    Args:
        station: its name.
        shown: its pictures of now, and the last rejects.
        keep: the folder of kept parts; None keeps none.
    """

    def __init__(self, station: str, shown: ShownPictures, *, keep: Path | None) -> None:
        self._of = {station: shown}
        self._keep = keep

    def live(self, camera: str, *, unless_id: str = "") -> tuple[DrawnResult, float] | None:
        """See `Pictures`."""
        return self._of[camera].live(unless_id=unless_id)

    def rejects(self, camera: str) -> tuple[DrawnResult, ...]:
        """See `Pictures`."""
        return self._of[camera].rejects()

    def kept(self, camera: str, name: str) -> bytes | None:
        """See `Pictures`."""
        return drawn_picture(self._keep, camera, name) if camera in self._of else None


@contextlib.contextmanager
def claim_places(config: Config, judge: JudgeOptions) -> Iterator[None]:
    """Refuse, before anything runs, what the worker could not write; and let nobody else take it.

    Raises:
        SinkError: a place that cannot be written, or that another program fills.
        BundleError: the candidate is none.
    """
    station = config.station
    with contextlib.ExitStack() as stack:
        if station.record is not None:
            refuse_source(record_path(station.record, station.name), [judge.source])
            folder = station.record.parent if station.record.suffix else station.record
            open_folder(folder)
        if station.keep is not None:
            folder = open_folder(folder_of(station.keep, station.name))
            _lock(folder).close()
            # The worker has the folder itself, and loses it when it is replaced.
            stack.callback(_lock(station.keep / f"{station.name}.station").close)
        if station.shadow is not None:
            if database_of(station) is None:
                raise SinkError(
                    "--shadow: its verdicts go to the database; add --keep or --database"
                )
            Bundle.open(station.shadow)
            if station.keep is not None:
                open_folder(station.keep / SHADOW / station.name)
        yield


@contextlib.contextmanager
def open_records(
    config: Config, counts: ResultCounts
) -> Iterator[tuple[Sequence[Sink], SinkThreads]]:
    """Where each result goes.

    Args:
        config: `edge.toml`.
        counts: those of the day go on where an earlier run's ended.

    Raises:
        SinkError: a file or the database cannot be written.
    """
    station = config.station
    with contextlib.ExitStack() as stack:
        sinks: list[Sink] = []
        if station.results is not None:
            limit = station.results_mb * MIB
            lines = DecidedLinesSink(station.results, max_bytes=limit, backups=station.results_kept)
            sinks.append(stack.enter_context(lines))
        for sink in database_sinks(station, {station.name: counts}):
            sinks.append(stack.enter_context(sink))
        yield sinks, stack.enter_context(SinkThreads(sinks, live=True))


def _lock(place: Path) -> PlaceLock:
    try:
        return PlaceLock(place)
    except OSError as error:
        raise SinkError(
            f"{printable_path(place)}: {error.strerror}; name another folder"
        ) from error
