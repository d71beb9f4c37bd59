"""What was inspected in each quarter of an hour, kept by the block of rows, so that it is quick.

Rows are only added at the end and taken away at the begin, so the sums of a whole block of them
stay true. They lie in the database itself and are made when they are first asked for.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge.review.moments import NS_PER_S
from edge.sinks.losses import strip_digits

NS_PER_QUARTER = 900 * NS_PER_S  # of which every time zone's hours are made
BLOCK = 1 << 16  # rows; the first one has those with ids from 1 to this
HOUR_SUMS_SCHEMA = """
CREATE TABLE IF NOT EXISTS hour_sums (
    block INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    quarter INTEGER NOT NULL,
    camera TEXT NOT NULL,
    verdict TEXT NOT NULL,
    count INTEGER NOT NULL,
    scores BLOB NOT NULL,
    reasons TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS hour_sums_by_block ON hour_sums (block);
"""
_ROWS = "SELECT id, captured_at_ns, camera, verdict, score, reason FROM results"
_PUT = "INSERT INTO hour_sums VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_WITHIN = "captured_at_ns >= ? AND captured_at_ns < ?"
_WITHIN_BY_ID = "+captured_at_ns >= ? AND +captured_at_ns < ?"  # not by the index of times


class SumPlace(NamedTuple):
    """What a sum is of.

    Attributes:
        quarter: of an hour, counted from 1970.
        camera: its name.
        verdict: OK, NG or ERROR.
    """

    quarter: int
    camera: str
    verdict: str


class Reason(NamedTuple):
    """Why parts are an ERROR.

    Attributes:
        last_ns: Unix time of the last one.
        text: as it was told then.
        parts: how many there are whose reasons differ in digits alone.
    """

    last_ns: int
    text: str
    parts: int


@dataclass(slots=True)
class PartSums:
    """Parts together.

    Attributes:
        count: how many.
        scores: of those that have one.
        reasons: of those that have one, by its words without their digits.
    """

    count: int = 0
    scores: array[float] = field(default_factory=lambda: array("d"))
    reasons: dict[str, Reason] = field(default_factory=dict)

    def add(self, other: PartSums) -> None:
        """Add others."""
        self.count += other.count
        self.scores.extend(other.scores)
        for words, reason in other.reasons.items():
            self.add_reason(words, reason)

    def add_reason(self, words: str, reason: Reason) -> None:
        """Add parts with a reason; the last one's text stands for all."""
        before = self.reasons.get(words, reason._replace(parts=0))
        newest = max(before, reason)
        self.reasons[words] = newest._replace(parts=before.parts + reason.parts)


def sums_between(
    database: sqlite3.Connection, since_ns: int, until_ns: int, *, may_write: bool
) -> dict[SumPlace, PartSums]:
    """Sum up the parts that were captured from one moment to before another.

    Args:
        database: of results.
        since_ns: Unix time.
        until_ns: Unix time.
        may_write: whether sums of whole blocks may be kept.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    times = (since_ns, until_ns)
    sums: dict[SumPlace, PartSums] = defaultdict(PartSums)
    few = f"SELECT count(*) FROM (SELECT 1 FROM results WHERE {_WITHIN} LIMIT {BLOCK})"
    if database.execute(few, times).fetchone()[0] < BLOCK:
        _add_rows(sums, database.execute(f"{_ROWS} WHERE {_WITHIN}", times))
        return sums
    first, last = database.execute("SELECT min(id), max(id) FROM results").fetchone()
    whole = range(-(-(first - 1) // BLOCK), last // BLOCK)
    if may_write:
        _keep_missing(database, whole)
    kept = _kept(database, whole)
    inside = range(-(-since_ns // NS_PER_QUARTER), until_ns // NS_PER_QUARTER)
    for place, part in _read_kept(database, kept, inside):
        sums[place].add(part)
    for begin, end in _gaps(kept, first, last + 1):
        query = f"{_ROWS} WHERE id >= ? AND id < ? AND {_WITHIN_BY_ID}"
        _add_rows(sums, database.execute(query, (begin, end, *times)))
    for cut in {since_ns // NS_PER_QUARTER, until_ns // NS_PER_QUARTER}:
        if cut in inside:
            continue
        begin_ns = max(since_ns, cut * NS_PER_QUARTER)
        end_ns = min(until_ns, (cut + 1) * NS_PER_QUARTER)
        rows = database.execute(f"{_ROWS} WHERE {_WITHIN}", (begin_ns, end_ns))
        _add_rows(sums, (row for row in rows if (row[0] - 1) // BLOCK in kept))
    return sums


def _add_rows(sums: dict[SumPlace, PartSums], rows: Iterable[tuple[Any, ...]]) -> None:
    places: dict[tuple[int, str, str], PartSums] = {}  # plain tuples: a million of them are made
    for _, captured_at_ns, camera, verdict, score, reason in rows:
        key = (captured_at_ns // NS_PER_QUARTER, camera, verdict)
        part = places.get(key)
        if part is None:
            part = places[key] = sums[SumPlace(*key)]
        part.count += 1
        if score is not None:
            part.scores.append(score)
        if reason:
            words = " ".join(strip_digits(reason).split())
            part.add_reason(words, Reason(captured_at_ns, reason, 1))


def _keep_missing(database: sqlite3.Connection, whole: range) -> None:
    """Keep the sums of whole blocks; what cannot be kept now is summed up again."""
    missing = sorted(set(whole) - _kept(database, whole))
    with contextlib.suppress(sqlite3.OperationalError):  # locked for long, or the disk is full
        for block in missing:
            first, last = block * BLOCK + 1, (block + 1) * BLOCK
            stamp = "SELECT captured_at_ns FROM results WHERE id = ?"
            (last_ns,) = database.execute(stamp, (last,)).fetchone() or (None,)
            if last_ns is None:
                continue  # somebody took rows away
            sums: dict[SumPlace, PartSums] = defaultdict(PartSums)
            rows = database.execute(f"{_ROWS} WHERE id >= ? AND id <= ?", (first, last))
            _add_rows(sums, rows)
            with database:
                stale = (whole.start, block)
                database.execute("DELETE FROM hour_sums WHERE block < ? OR block = ?", stale)
                values = ((block, last_ns, *place, *_stored(part)) for place, part in sums.items())
                database.executemany(_PUT, values)


def _stored(part: PartSums) -> tuple[int, bytes, str]:
    return part.count, part.scores.tobytes(), json.dumps(part.reasons)


def _kept(database: sqlite3.Connection, whole: range) -> set[int]:
    """The blocks that are kept, and whose last row is the one that it was."""
    query = (
        "SELECT DISTINCT block FROM hour_sums JOIN results ON results.id = (block + 1) * ? "
        "WHERE captured_at_ns = last_ns AND block >= ? AND block < ?"
    )
    return {one for (one,) in database.execute(query, (BLOCK, whole.start, whole.stop))}


def _read_kept(
    database: sqlite3.Connection, blocks: set[int], quarters: range
) -> Iterator[tuple[SumPlace, PartSums]]:
    query = "SELECT block, quarter, camera, verdict, count, scores, reasons FROM hour_sums"
    for block, quarter, camera, verdict, count, scores, reasons in database.execute(query):
        if block in blocks and quarter in quarters:
            told = {words: Reason(*one) for words, one in json.loads(reasons).items()}
            yield (
                SumPlace(quarter, camera, verdict),
                PartSums(count, array("d", scores), told),
            )


def _gaps(blocks: set[int], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of ids between two that no block has."""
    for block in sorted(blocks):
        if begin <= block * BLOCK:
            yield begin, block * BLOCK + 1
        begin = (block + 1) * BLOCK + 1
    if begin < end:
        yield begin, end
