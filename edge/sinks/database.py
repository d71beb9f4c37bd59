"""Results in an SQLite database: durable, bounded, readable while it is written."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from cameras.redaction import printable_path
from edge.result import Result, Verdict
from edge.sinks.losses import LossCounter
from edge.sinks.sink import SinkError
from process.plain_files import check_plain

DATABASE = "results.db"
"""Its name in a folder of kept parts."""
MAX_ROWS = 10_000_000
"""About 2.5 GB: a month at four results a second."""
COMMIT_ROWS = 256
COMMIT_S = 0.25
MAX_WAITING = 10_000
_BUSY_S = 1.0
_RETRY_S = 0.5
_CLOSE_S = 1.0
_MAX_DELETED = 4 * COMMIT_ROWS
_VERSION = 1
_APPLICATION = 0x65646765  # "edge"
RESULTS_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    id INTEGER PRIMARY KEY,
    camera TEXT NOT NULL,
    source TEXT NOT NULL,
    frame INTEGER NOT NULL,
    captured_at_ns INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    score REAL,
    threshold REAL,
    reason TEXT NOT NULL,
    result TEXT NOT NULL,
    recipe INTEGER
);
CREATE INDEX IF NOT EXISTS results_by_time ON results (captured_at_ns);
CREATE INDEX IF NOT EXISTS results_not_ok ON results (captured_at_ns) WHERE verdict <> 'OK';
CREATE INDEX IF NOT EXISTS results_by_score ON results (verdict, score, camera, captured_at_ns);
"""
SHADOW = "shadow"
"""The table of what candidates say, and in a folder of kept parts that of their pictures."""
SHADOW_SCHEMA = """
CREATE TABLE IF NOT EXISTS shadow (
    id INTEGER PRIMARY KEY,
    candidate TEXT NOT NULL,
    camera TEXT NOT NULL,
    source TEXT NOT NULL,
    frame INTEGER NOT NULL,
    captured_at_ns INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    score REAL,
    shadow_verdict TEXT NOT NULL,
    shadow_score REAL,
    shadow_reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS shadow_differs ON shadow (candidate, captured_at_ns)
    WHERE verdict <> shadow_verdict;
CREATE INDEX IF NOT EXISTS shadow_by_candidate ON shadow (candidate);
"""
_ADDED = {"recipe": "ALTER TABLE results ADD COLUMN recipe INTEGER"}
"""Columns that databases of earlier versions lack."""
_INSERT = """
INSERT INTO results
    (camera, source, frame, captured_at_ns, verdict, score, threshold, reason, result, recipe)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TRIM = """
DELETE FROM results WHERE id IN (
    SELECT id FROM results WHERE id <= (SELECT max(id) FROM results) - ? ORDER BY id LIMIT ?
)
"""
_COUNT = """
SELECT verdict, count(*) FROM results
WHERE captured_at_ns >= ? AND captured_at_ns < ? AND camera = ? GROUP BY verdict
"""
_Values: TypeAlias = tuple[Any, ...]
OnBegin: TypeAlias = Callable[[sqlite3.Connection], None]


class RowWriter:
    """Rows of one table: durable, and kept in memory while nobody can write them.

    Write-ahead log with ``synchronous = FULL``: what was committed survives a power cut. A commit
    is made when nothing more waits, else every 256 rows or quarter of a second. While the disk is
    full or another program has locked the database, up to 10 000 rows wait in memory; then the
    oldest are lost and counted. A database that was removed or moved away is begun anew, as soon
    as its place is there.

    Args:
        path: the database; made if it is not there.
        insert: the statement that puts a row in.
        losses: counts what is lost; None makes a counter of results.
        trim: what removes the oldest rows at each commit, with its values; None removes none.
        on_begin: given the database before the first row is written, late where it is locked.

    Raises:
        SinkError: no database can be opened or made there, or it is another program's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        insert: str,
        *,
        losses: LossCounter | None = None,
        trim: tuple[str, tuple[int, int]] | None = None,
        on_begin: OnBegin | None = None,
    ) -> None:
        self.losses = losses or LossCounter(printable_path(path), "results")
        self._insert, self._trim = insert, trim
        self._on_begin = on_begin
        self._waiting: deque[_Values] = deque()
        self._since_s = 0.0  # when the oldest of them came
        self._retry_s = 0.0
        self._busy = threading.Lock()  # closed by another thread than the one that writes
        self._path = Path(path)
        self._closed = False
        self._database: sqlite3.Connection | None = None
        self._stamp: tuple[int, int] | None = None  # of the file that is open
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            if not _is_locked(error):
                raise _sink_error(Path(path), error) from error
            self.losses.add(error, 0)  # it is a database, and somebody will let go of it

    def add(self, values: _Values) -> None:
        """Add one row; it is committed with others, see the class."""
        now = time.monotonic()
        with self._busy:
            if not self._waiting:
                self._since_s = now
            self._waiting.append(tuple(_storable(value) for value in values))
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self.losses.add(self.losses.reason or "too slow")
            if len(self._waiting) >= COMMIT_ROWS or now - self._since_s >= COMMIT_S:
                self._commit(now)

    def flush(self) -> None:
        """Commit what waits."""
        with self._busy:
            self._commit(time.monotonic())

    def close(self) -> None:
        """Commit and close; what cannot be committed is lost. A second call does nothing."""
        if not self._busy.acquire(timeout=_CLOSE_S):
            return  # the disk hangs, and the thread that writes with it
        try:
            if self._closed:
                return
            self._retry_s = 0.0
            self._commit(time.monotonic())
            if self._waiting:
                self.losses.add("closed", len(self._waiting))
                self._waiting.clear()
            self._closed = True
            self._close_database()
        finally:
            self._busy.release()

    def _commit(self, now: float) -> None:
        if not self._waiting or self._closed or now < self._retry_s:
            return
        try:
            database = self._database_in_place()
            with database:  # commits, or rolls back
                database.executemany(self._insert, self._waiting)
                if self._trim is not None:
                    database.execute(*self._trim)
            if self._stamp != _stamp_of(self._path):
                raise OSError("removed or moved away meanwhile")  # then the rows are nowhere
        except (sqlite3.Error, OSError) as error:
            self._retry_s = now + _RETRY_S
            self.losses.add(error, 0)
            return
        self._waiting.clear()
        self._retry_s = 0.0
        self.losses.end_outage()

    def _database_in_place(self) -> sqlite3.Connection:
        """The database that has the name now; SQLite itself goes on writing where nobody looks.

        Raises:
            sqlite3.Error, OSError: there is none, and none can be made.
        """
        if self._database is not None and self._stamp == _stamp_of(self._path):
            return self._database
        # First, since its end removes what a new one would write beside it.
        self._close_database()
        return self._open()

    def _open(self) -> sqlite3.Connection:
        with contextlib.suppress(FileNotFoundError):
            check_plain(self._path.stat(), self._path)
        database = open_database(self._path)
        if self._on_begin is not None:
            with _closing_at_error(database):
                self._on_begin(database)
            self._on_begin = None
        self._database, self._stamp = database, _stamp_of(self._path)
        return database

    def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()


class SqliteSink(AbstractContextManager["SqliteSink"]):
    """The table ``results``: a row a result, its result line as JSON in the column ``result``.

    Args:
        path: the database; made if it is not there.
        max_rows: the oldest rows beyond so many are removed.
        on_begin: see `RowWriter`.

    Raises:
        SinkError: see `RowWriter`.
    """

    lossless = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_rows: int = MAX_ROWS,
        on_begin: OnBegin | None = None,
    ) -> None:
        trim = (_TRIM, (max_rows, _MAX_DELETED))
        self._rows = RowWriter(path, _INSERT, trim=trim, on_begin=on_begin)
        self.losses = self._rows.losses
        self.flush, self.close = self._rows.flush, self._rows.close

    def write(self, result: Result) -> None:
        """Add one row; it is committed with others, see `RowWriter`."""
        self._rows.add(_row_from_result(result))

    def __exit__(self, *_: object) -> None:
        self.close()


def count_of_day(database: sqlite3.Connection, camera: str, day: date) -> Counter[Verdict]:
    """Count a camera's results of a day of the machine's clock.

    Args:
        database: of ours.
        camera: its name; empty where there is one alone.
        day: on which they were captured.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    begin_ns, end_ns = (
        int(datetime.combine(one, datetime.min.time()).timestamp() * 1e9)
        for one in (day, day + timedelta(days=1))
    )
    rows = database.execute(_COUNT, (begin_ns, end_ns, camera)).fetchall()
    return Counter({Verdict(verdict): count for verdict, count in rows})


def _stamp_of(path: Path) -> tuple[int, int] | None:
    """Which file a name stands for; None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_database(path: Path) -> sqlite3.Connection:
    """A connection whose table is there.

    Raises:
        sqlite3.Error, OSError: it is no database, another program's, or cannot be written.
    """
    database = connect(path)
    with _closing_at_error(database):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA journal_size_limit = 16777216")  # of a log that a reader held up
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.executescript(RESULTS_SCHEMA + SHADOW_SCHEMA)
        add_missing_columns(database)
    return database


def add_missing_columns(database: sqlite3.Connection) -> None:
    """Give a database of an earlier version the columns that it lacks.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    for name in missing_columns(database):
        with contextlib.suppress(sqlite3.OperationalError):  # another program was quicker
            database.execute(_ADDED[name])
        database.execute(f"SELECT {name} FROM results LIMIT 1")


def missing_columns(database: sqlite3.Connection) -> list[str]:
    """Columns that a database of an earlier version lacks."""
    there = {row[1] for row in database.execute("PRAGMA table_info(results)")}
    return [name for name in _ADDED if name not in there]


def connect(path: Path, *, busy_s: float = _BUSY_S, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a database of ours, or to an empty one.

    Args:
        path: of a regular file, or of none yet.
        busy_s: for so long another program's writing is waited for.
        read_only: nothing is written to its place, and nobody else writes there meanwhile.

    Raises:
        sqlite3.Error, OSError: it is no database, or another program's.
    """
    name = f"{path.absolute().as_uri()}{'?mode=ro&immutable=1' * read_only}"
    database = sqlite3.connect(name, timeout=busy_s, check_same_thread=False, uri=True)
    with _closing_at_error(database):
        (owner,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (owner, version) != (_APPLICATION, _VERSION) and tables:
            raise OSError("a database of another program or version")
    return database


@contextlib.contextmanager
def _closing_at_error(database: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


def _is_locked(error: Exception) -> bool:
    """Whether another program has the database for itself now."""
    code = getattr(error, "sqlite_errorcode", None)  # from Python 3.11 on
    return code == sqlite3.SQLITE_BUSY if code is not None else "locked" in str(error)


def _sink_error(path: Path, error: sqlite3.Error | OSError) -> SinkError:
    reason = getattr(error, "strerror", None) or error
    return SinkError(f"{printable_path(path)}: {reason}; name another file")


def _row_from_result(result: Result) -> _Values:
    line = result.to_json()
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    names = ("source", "frame", "captured_at_ns", "verdict", "score", "threshold", "reason")
    return line["camera"], *(line[name] for name in names), text, line["recipe"]


def _storable(value: Any) -> Any:
    """Text without lone surrogates, which SQLite does not take."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
