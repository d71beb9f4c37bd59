"""Results in SQLite: durable, bounded, and no reason for the line to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path

import pytest

from edge.result import Region, Result, Verdict
from edge.sinks import database as module
from edge.sinks.database import SqliteSink, count_of_day
from edge.sinks.sink import SinkError

ROOT = Path(__file__).resolve().parents[3]


def result_of(number: int, verdict: Verdict = Verdict.OK, source: str = "cam") -> Result:
    return Result(
        source=source,
        frame=number,
        captured_at_ns=1_769_853_300_000_000_000 + number,
        verdict=verdict,
        score=None if verdict is Verdict.ERROR else 0.25,
        threshold=0.5,
        regions=(Region(1, 2, 3, 4, 5, 0.9),) if verdict is Verdict.NG else (),
        reason="no frame" if verdict is Verdict.ERROR else "",
    )


def rows_of(path: Path, what: str = "frame", where: str = "1") -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {what} FROM results WHERE {where} ORDER BY id").fetchall()


def test_a_row_a_result_readable_as_soon_as_nothing_waits(tmp_path) -> None:
    path = tmp_path / "results.db"
    with SqliteSink(path) as sink:
        for number, verdict in enumerate(Verdict):
            sink.write(result_of(number, verdict, source="caf\udce9"))
        sink.flush()
        columns = "verdict, score, threshold, reason, result"
        ok, ng, error = rows_of(path, columns)
    assert ok[:4] == ("OK", 0.25, 0.5, "")
    assert error[:4] == ("ERROR", None, 0.5, "no frame")
    assert json.loads(ng[4])["regions"] == [result_of(0, Verdict.NG).to_json()["regions"][0]]
    assert rows_of(path, "frame", "verdict <> 'OK'") == [(1,), (2,)]
    assert (sink.losses.total, sink.losses.trouble) == (0, "")
    with SqliteSink(path) as sink:  # a second run goes on
        sink.write(result_of(9))
    assert len(rows_of(path)) == 4


def test_many_are_committed_in_groups_and_the_oldest_are_removed(tmp_path) -> None:
    path = tmp_path / "results.db"
    with SqliteSink(path, max_rows=300) as sink:
        for number in range(2000):
            sink.write(result_of(number))
    assert rows_of(path) == [(number,) for number in range(1700, 2000)]


def test_a_locked_database_costs_nothing_while_memory_lasts(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "_BUSY_S", 0.05)
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    monkeypatch.setattr(module, "MAX_WAITING", 50)
    path = tmp_path / "results.db"
    with SqliteSink(path) as sink:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(40):
                sink.write(result_of(number))
            sink.flush()
            assert "locked" in sink.losses.trouble
            assert sink.losses.total == 0
        sink.flush()
        assert sink.losses.trouble == ""
        assert rows_of(path) == [(number,) for number in range(40)]
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(40, 100):
                sink.write(result_of(number))
            assert sink.losses.trouble.count(path.name) == 1  # it does not grow with each loss
            sink.flush()
        sink.flush()
        assert sink.losses.total == 10
    assert rows_of(path)[40:] == [(number,) for number in range(50, 100)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"] * 2


def test_a_full_disk_is_survived_and_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    monkeypatch.setattr(module, "MAX_WAITING", 100)
    path = tmp_path / "results.db"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with SqliteSink(path) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        try:
            for number in range(1000):
                sink.write(result_of(number))
                sink.flush()
            assert sink.losses.trouble
            assert sink.losses.total > 0
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sink.write(result_of(1000))
        sink.flush()
        assert sink.losses.trouble == ""
        frames = [row[0] for row in rows_of(path)]
    assert len(frames) == 1001 - sink.losses.total
    assert frames[-1] == 1000
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("content", [b"not a database" * 100, None])
def test_what_is_somebody_elses_is_refused_and_unchanged(tmp_path, content) -> None:
    path = tmp_path / "other.db"
    if content is None:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (a)")
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    with pytest.raises(SinkError, match=r"other.db.*name another file"):
        SqliteSink(path)
    assert path.read_bytes() == content
    with pytest.raises(SinkError):
        SqliteSink(tmp_path / "none" / "results.db")


PROGRAM = """
import itertools, sys
from edge.result import Result, Verdict
from edge.sinks.database import SqliteSink, count_of_day
sink = SqliteSink(sys.argv[1])
for number in itertools.count():
    sink.write(Result("cam", number, number, Verdict.OK, 0.1, 0.5))
    if number % 10 == 9:
        sink.flush()
        print(number, flush=True)
"""


def test_what_was_committed_survives_a_kill(tmp_path) -> None:
    path = tmp_path / "results.db"
    told = -1
    for number in range(3):
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, cwd=ROOT
        )
        with program:
            assert program.stdout is not None
            told = int(program.stdout.readline())
            time.sleep(0.05 * number)
            program.send_signal(signal.SIGKILL)
            told = max([told, *map(int, program.stdout.read().split())])
        frames = [row[0] for row in rows_of(path)]
        last = max(index for index, frame in enumerate(frames) if frame == 0)
        assert frames[last:] == list(range(len(frames) - last))
        assert len(frames) - last > told


def test_a_days_results_are_counted_of_one_camera_from_midnight_on(tmp_path) -> None:
    path = tmp_path / "results.db"
    noon_ns = int(datetime(2026, 1, 31, 12).timestamp()) * 10**9
    with SqliteSink(path) as sink:
        for number, verdict in enumerate([*Verdict, Verdict.NG]):
            for camera, hours in (("left", 0), ("right", 0), ("left", -13), ("left", 13)):
                taken = dataclasses.replace(
                    result_of(number, verdict),
                    camera=camera,
                    captured_at_ns=noon_ns + hours * 3600 * 10**9,
                )
                sink.write(taken)
        sink.flush()
        with contextlib.closing(sqlite3.connect(path)) as database:  # while it is written
            found = count_of_day(database, "left", date(2026, 1, 31))
    assert found == {Verdict.OK: 1, Verdict.NG: 2, Verdict.ERROR: 1}


def test_one_that_is_locked_at_the_start_is_written_to_once_it_is_free(tmp_path, caplog) -> None:
    path = tmp_path / "results.db"
    with SqliteSink(path) as sink:
        sink.write(result_of(0))
    begun: list[int] = []
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        sink = SqliteSink(path, on_begin=lambda _: begun.append(len(rows_of(path))))
        sink.write(result_of(1))
        sink.flush()
        assert "locked" in sink.losses.trouble
    assert "check that place" in caplog.text
    assert begun == []
    time.sleep(module._RETRY_S)
    sink.flush()
    sink.close()
    assert sink.losses.total == 0
    assert rows_of(path) == [(0,), (1,)]
    assert begun == [1]  # before its own rows


def test_one_of_an_earlier_version_gets_the_column_that_it_lacks(tmp_path) -> None:
    path = tmp_path / "results.db"
    with SqliteSink(path) as sink:
        sink.write(result_of(0))
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE results DROP COLUMN recipe")
    with SqliteSink(path) as sink:
        sink.write(dataclasses.replace(result_of(1), recipe=7))
    assert rows_of(path, "recipe") == [(None,), (7,)]
