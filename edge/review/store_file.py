"""The database of a folder of kept parts, opened to be looked through and marked."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cameras.redaction import printable_path
from edge.review.hour_sums import HOUR_SUMS_SCHEMA
from edge.sinks.database import (
    RESULTS_SCHEMA,
    SHADOW_SCHEMA,
    add_missing_columns,
    connect,
    missing_columns,
)
from edge.sinks.sink import SinkError

_MARKS = """
CREATE TABLE IF NOT EXISTS marks (
    id INTEGER PRIMARY KEY,
    result INTEGER NOT NULL,
    mark TEXT NOT NULL,
    by TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    picture TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS marks_by_result ON marks (result, id);
"""
_EMPTY = {
    "marks": "0 AS id, 0 AS result, '' AS mark, '' AS by, 0 AS at_ns, '' AS picture",
    "hour_sums": "0 AS block, 0 AS last_ns, 0 AS quarter, '' AS camera, '' AS verdict, 0 AS count, "
    "x'' AS scores, '' AS reasons",
    "shadow": "0 AS id, '' AS candidate",
}
_BUSY_S = 5.0


def open_store(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open a database of results; what an older version lacks in it is made.

    Args:
        path: of the database.

    Returns:
        The connection, and whether it can be written.

    Raises:
        sqlite3.Error, OSError: it cannot be read, or is no database of ours.
    """
    try:
        database = connect(path, busy_s=_BUSY_S)
        # Before anything is written: an empty file stays one that a stream takes.
        database.execute("SELECT id FROM results LIMIT 1")
        database.executescript(RESULTS_SCHEMA + _MARKS + HOUR_SUMS_SCHEMA + SHADOW_SCHEMA)
        add_missing_columns(database)
        return database, True
    except sqlite3.OperationalError:
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            raise
    return _open_to_read(path), False


@contextlib.contextmanager
def telling_errors(path: Path) -> Iterator[None]:
    """Turn errors of a database into one line.

    Raises:
        SinkError: in place of them.
    """
    where = printable_path(path)
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise SinkError(f"{where}: {error}; try again, or name another folder") from error
    except sqlite3.Error as error:
        helps = "see what can be saved with: sqlite3 results.db .recover"
        raise SinkError(f"{where}: {error}; {helps}") from error
    except OverflowError as error:
        raise SinkError("a number has more than 18 digits; give a smaller one") from error


def _open_to_read(path: Path) -> sqlite3.Connection:
    """A database in a place that nobody may write: SQLite itself would lay its log beside it."""
    database = connect(path, busy_s=_BUSY_S, read_only=True)
    (*there,) = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    for name, columns in _EMPTY.items():
        if (name,) not in there:
            database.execute(f"CREATE TEMP VIEW {name} AS SELECT {columns} WHERE 0")
    for missing in missing_columns(database):
        database.execute(
            f"CREATE TEMP VIEW results AS SELECT *, NULL AS {missing} FROM main.results"
        )
    return database
