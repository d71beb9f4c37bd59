"""A candidate judges the same frames as the inspector at work; what it says is only recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from cameras.redaction import printable_path
from edge.given import GivenSettings
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_in_use
from edge.options import CameraOptions
from edge.result import Result, Say
from edge.sinks.database import SHADOW, SHADOW_SCHEMA, open_database
from edge.sinks.disk_quota import DiskLimits, DiskQuota
from edge.sinks.kept_parts import keep_part
from edge.sinks.losses import LossCounter
from edge.sinks.sink import SinkError
from engines.bundle import MODEL, Bundle
from engines.choose import engine_on

COMMIT_ROWS = 64
_INSERT = "INSERT INTO shadow VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class ShadowSink(AbstractContextManager["ShadowSink"]):
    """Judges each result's picture by a candidate, in a thread of its own.

    What a live camera gives too quickly for both is judged by the one at work alone. Where the two
    verdicts differ, the picture is kept.

    Args:
        inspector: the candidate; closed with this.
        database: of the results, in which its verdicts have a table.
        folder: for pictures of parts in which the two differ; None keeps none.
        limits: of that folder.
        say: told at the end in how many parts the two differ.

    Raises:
        SinkError: the database or the folder cannot be written.
    """

    lossless = False
    alone = True

    def __init__(
        self,
        inspector: Inspector,
        *,
        database: Path,
        folder: Path | None,
        limits: DiskLimits | None = None,
        say: Say,
    ) -> None:
        self.losses = LossCounter(
            f"shadow {inspector.bundle.path}", "verdicts", counts_skipped=False
        )
        self.compared = self.differing = 0
        self._is_closed = False
        self._inspector, self._say = inspector, say
        self._candidate = candidate_name(inspector.bundle)
        self._rows: list[tuple[Any, ...]] = []
        self._quota = None if folder is None else DiskQuota(folder, limits)
        try:
            self._database = open_database(database)
            self._database.executescript(SHADOW_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise SinkError(f"{printable_path(database)}: {error}; name another file") from error

    def write(self, result: Result) -> None:
        """Judge it by the candidate, too; a result without a picture says nothing of either."""
        if result.image is None:
            return
        found = self._inspector.inspect(result.image)
        self.compared += 1
        self._rows.append(
            (
                *(self._candidate, result.camera, result.to_json()["source"], result.frame),
                *(result.captured_at_ns, result.verdict.value, result.score),
                *(found.verdict.value, found.score, found.reason),
            )
        )
        if found.verdict is not result.verdict:
            self.differing += 1
            self._keep(result)
        if len(self._rows) >= COMMIT_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write down the verdicts that wait."""
        if not self._rows:
            return
        try:
            with self._database:
                self._database.executemany(_INSERT, self._rows)
        except sqlite3.Error as error:
            self.losses.add(error, len(self._rows))
        else:
            self.losses.end_outage()
        self._rows.clear()

    def close(self) -> None:
        """Write what waits, and release the candidate; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self.flush()
        where = self._inspector.bundle.path
        self._say(f"{where}: differs in {self.differing} of {self.compared} parts")
        self._database.close()
        if self._quota is not None:
            self._quota.close()
        self._inspector.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self, result: Result) -> None:
        if self._quota is None:
            return
        try:
            keep_part(self._quota, result)
        except (cv2.error, OSError) as error:
            self.losses.add(error)


def candidate_name(bundle: Bundle) -> str:
    """What tells a candidate from another: its name, and the begin of its graph's hash."""
    return f"{bundle.manifest.name} {bundle.manifest.files[MODEL].sha256[:12]}"


def open_shadow(
    path: Path,
    camera: CameraOptions,
    *,
    name: str,
    database: Path | None,
    keep: Path | None,
    limits: DiskLimits,
    say: Say,
) -> Iterator[ShadowSink]:
    """The sink of a candidate, judging with its own threshold what the camera's options say.

    Args:
        path: the candidate's bundle.
        camera: how frames are judged.
        name: of the camera.
        database: of the results.
        keep: folder of kept parts.
        limits: of it.
        say: takes lines for people.

    Raises:
        SinkError: there is no database to record its verdicts in.
        BundleError, EngineError: as their modules say.
    """
    if database is None:
        raise SinkError("--shadow: its verdicts go to the database; add --keep or --database")
    bundle = Bundle.open(path)
    given = replace(GivenSettings.from_options(camera), threshold=None)
    settings = settings_in_use(bundle, given, say=say)
    inspector = Inspector(
        bundle, settings=settings, engine=engine_on(camera.engine, camera.device), say=say
    )
    try:
        folder = None if keep is None else keep / SHADOW / name
        yield ShadowSink(inspector, database=database, folder=folder, limits=limits, say=say)
    except BaseException:
        inspector.close()
        raise
