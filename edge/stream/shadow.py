"""A candidate judges the same frames as the inspector at work; what it says is only recorded."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import cv2

from edge.given import GivenSettings
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_in_use
from edge.result import Result, Say
from edge.sinks.database import SHADOW, RowWriter
from edge.sinks.disk_quota import DiskLimits, DiskQuota
from edge.sinks.kept_parts import keep_part
from edge.sinks.losses import LossCounter
from edge.sinks.sink import SinkError
from engines.bundle import MODEL, Bundle

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
        recipe: judge the parts of this one alone; None = all.
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
        recipe: int | None = None,
        say: Say,
    ) -> None:
        self.compared = self.differing = 0
        self._is_closed = False
        self._recipe = recipe
        self._inspector, self._say = inspector, say
        self._candidate = candidate_name(inspector.bundle)
        self.losses = LossCounter(
            f"shadow {inspector.bundle.path}", "verdicts", counts_skipped=False
        )
        self._rows = RowWriter(database, _INSERT, losses=self.losses)
        self._quota = None if folder is None else DiskQuota(folder, limits)
        self.flush = self._rows.flush

    def write(self, result: Result) -> None:
        """Judge it by the candidate, too; a result without a picture says nothing of either."""
        if result.image is None or self._recipe not in (None, result.recipe):
            return
        found = self._inspector.inspect(result.image)
        self.compared += 1
        self._rows.add(
            (
                *(self._candidate, result.camera, result.source, result.frame),
                *(result.captured_at_ns, result.verdict.value, result.score),
                *(found.verdict.value, found.score, found.reason),
            )
        )
        if found.verdict is not result.verdict:
            self.differing += 1
            self._keep(result)

    def close(self) -> None:
        """Write what waits, and release the candidate; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        where = self._inspector.bundle.path
        self._say(f"{where}: differs in {self.differing} of {self.compared} parts")
        self._rows.close()
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
    given: GivenSettings,
    *,
    engine: str,
    name: str,
    recipe: int | None = None,
    database: Path | None,
    keep: Path | None,
    limits: DiskLimits,
    say: Say,
) -> ShadowSink:
    """The sink of a candidate, which judges with its own threshold.

    Args:
        path: the candidate's bundle.
        given: in place of the bundle's own settings; its threshold is not the candidate's.
        engine: ``auto`` or the name of one.
        name: of the camera.
        recipe: judge the parts of this one alone; None = all.
        database: of the results.
        keep: folder of kept parts.
        limits: of it.
        say: takes lines for people.

    Raises:
        SinkError: there is no database to record its verdicts in.
        BundleError, EngineError: as their modules say.
    """
    database = require_database(database)
    bundle = Bundle.open(path)
    settings = settings_in_use(bundle, replace(given, threshold=None), say=say)
    inspector = Inspector(bundle, settings=settings, engine=engine, say=say)
    try:
        folder = None if keep is None else keep / SHADOW / name
        return ShadowSink(
            inspector, database=database, folder=folder, limits=limits, recipe=recipe, say=say
        )
    except BaseException:
        inspector.close()
        raise


def require_database(database: Path | None) -> Path:
    """The database for a candidate's verdicts.

    Raises:
        SinkError: there is none.
    """
    if database is None:
        raise SinkError("--shadow: its verdicts go to the database; add --keep or --database")
    return database
