"""What a station has kept, looked through and marked: on the command line, as a user would."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import sqlite3
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results import SOFT, START_NS, noise, result_of

from calibrate.dataset import GOOD, dataset_from_folder
from edge.options import PartsOptions
from edge.result import Verdict
from edge.review import hour_sums, store_file
from edge.review.hour_sums import sums_between
from edge.review.moments import ns_from_moment
from edge.review.parts import PartStore
from edge.review.pictures import MarkedPictures
from edge.sinks.database import SqliteSink, connect
from edge.sinks.disk_quota import DiskLimits
from edge.sinks.kept_parts import KeptPartsSink
from edge.sinks.sink import SinkError

HOUR_NS = 3600 * 10**9
VERDICTS = [Verdict.OK, Verdict.NG, Verdict.OK, Verdict.ERROR]


@pytest.fixture
def kept(tmp_path) -> Path:
    """Two hours of two cameras; every OK part of the left one is kept."""
    folder = tmp_path / "kept"
    with (
        KeptPartsSink(folder / "left", share_ok=1.0) as left,
        KeptPartsSink(folder / "right") as right,
        SqliteSink(folder / "results.db") as database,
    ):
        for number in range(16):
            verdict = VERDICTS[number % 4]
            for camera, sink in (("left", left), ("right", right)):
                result = dataclasses.replace(
                    result_of(number, verdict, reason="too dark: 3" * (verdict is Verdict.ERROR)),
                    camera=camera,
                    captured_at_ns=START_NS + number // 8 * HOUR_NS + number * 10**9,
                    score=None if verdict is Verdict.ERROR else number / 16,
                    image=SOFT if camera == "left" else noise(number),
                )
                sink.write(result)
                database.write(result)
    return folder


def listed(run, *words: object) -> list[dict]:
    outcome = run("review", "parts", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["parts"]


def test_parts_are_found_by_verdict_camera_time_and_score(run, kept) -> None:
    highest = listed(run, kept, "--sort", "score", "--limit", 3, "--camera", "left")
    assert [part["score"] for part in highest] == [14 / 16, 13 / 16, 12 / 16]
    newest = listed(run, kept, "--verdict", "NG", "--limit", 2, "--skip", 1)
    assert [(part["camera"], part["frame"]) for part in newest] == [("left", 13), ("right", 9)]
    since = (datetime.fromtimestamp(START_NS / 1e9) + timedelta(minutes=30)).isoformat()
    assert {part["frame"] for part in listed(run, kept, "--since", since)} == set(range(8, 16))
    assert {part["frame"] for part in listed(run, kept, "--until", since)} == set(range(8))
    pictures = {part["frame"] for part in listed(run, kept, "--camera", "right") if part["picture"]}
    assert pictures == {1, 3, 5, 9, 13}  # NG, and the first of a repeated ERROR
    for part in listed(run, kept, "--camera", "left", "--verdict", "OK"):
        assert (cv2.imread(part["picture"]) == SOFT).all()


def test_a_mark_keeps_the_picture_and_who_said_what_before(run, kept, tmp_path) -> None:
    (part, *_) = listed(run, kept, "--camera", "left", "--verdict", "NG")
    for mark, who in (("defective", "ann"), ("good", "bob")):
        assert run("review", "mark", kept, mark, part["id"], "--by", who).code == 0
    with contextlib.closing(sqlite3.connect(kept / "results.db")) as database:
        said = database.execute("SELECT mark, by FROM marks ORDER BY at_ns").fetchall()
    assert said == [("defective", "ann"), ("good", "bob")]
    (marked,) = listed(run, kept, "--marked", "good")
    assert (marked["id"], marked["mark"], marked["marked_by"]) == (part["id"], "good", "bob")
    assert abs(ns_from_moment(marked["marked_at"]) - time.time_ns()) < 60 * 10**9
    assert listed(run, kept, "--marked", "defective") == []
    assert len(listed(run, kept, "--marked", "none")) == 31
    # The quota removes kept parts, and never a marked one.
    with KeptPartsSink(kept / "left", limits=DiskLimits(1)) as sink:
        sink.write(result_of(99, Verdict.NG))
    (marked,) = listed(run, kept, "--marked", "any")
    assert (cv2.imread(marked["picture"]) == SOFT).all()
    assert marked["picture"].startswith(str(kept / "marked" / "good" / "left_"))
    assert run("review", "mark", kept, "ignored", part["id"]).code == 0
    assert not [*(kept / "marked").rglob("*.png")]


def test_marked_parts_are_a_data_set_that_a_build_reads(run, kept, tmp_path) -> None:
    parts = listed(run, kept, "--camera", "left", "--verdict", "OK", "--verdict", "NG")
    good, bad = (
        [part["id"] for part in parts if part["verdict"] == verdict] for verdict in ("OK", "NG")
    )
    assert run("review", "mark", kept, "good", *good).code == 0
    assert run("review", "mark", kept, "defective", *bad).code == 0
    outcome = run("review", "dataset", kept, tmp_path / "set")
    assert outcome.code == 0
    assert f"{len(good)} good, {len(bad)} defective" in outcome.err
    found = dataset_from_folder(tmp_path / "set")
    assert (len(found.train), sum(one.defect != GOOD for one in found.test)) == (
        len(good),
        len(bad),
    )
    again = run("review", "dataset", kept, tmp_path / "set")
    assert again.code == 2
    assert "name a new folder" in again.err


def test_a_shift_is_reported_by_the_hour(run, kept, tmp_path) -> None:
    file = tmp_path / "shift.csv"
    assert run("review", "hours", kept, "--csv", file).code == 0
    text = file.read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    rows = [*csv.DictReader(io.StringIO(text.decode("utf-8-sig")))]
    assert [row["camera"] for row in rows] == ["left", "right"] * 2
    assert [int(row["ok"]) for row in rows] == [4] * 4
    assert {row["reason"] for row in rows} == {"too dark: 3"}
    assert float(rows[2]["score_highest"]) == 14 / 16
    assert float(rows[0]["rejects"]) == pytest.approx(1 / 3)


@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_sums_of_blocks_are_those_of_the_rows(data) -> None:
    """Whatever was asked before, was added or went, and however the clock was set."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hour_sums, "BLOCK", 4)
        path, now_ns = Path(name) / "results.db", START_NS
        SqliteSink(path).close()
        for _ in range(data.draw(st.integers(1, 3))):
            now_ns += data.draw(st.integers(-3, 5)) * HOUR_NS // 8
            with SqliteSink(path) as database:
                for number in range(data.draw(st.integers(0, 14))):
                    now_ns += data.draw(st.integers(0, HOUR_NS // 8))
                    verdict = VERDICTS[number % 4]
                    result = result_of(number, verdict, reason=f"dark {number}")
                    database.write(dataclasses.replace(result, captured_at_ns=now_ns))
            gone = data.draw(st.integers(0, 20))
            with contextlib.closing(sqlite3.connect(path)) as database, database:
                database.execute("DELETE FROM results WHERE id <= ?", (gone,))
            begin, end = sorted(data.draw(st.tuples(*[st.integers(-9, 30)] * 2)))
            since, until = (START_NS + number * HOUR_NS // 8 for number in (begin, end + 1))
            with PartStore(path.parent) as store:
                ways = [
                    sums_between(store._database, since, until, may_write=may_write)
                    for may_write in (True, False)
                ]
                rows = store._database.execute(
                    "SELECT captured_at_ns, camera, verdict, score FROM results "
                    "WHERE captured_at_ns >= ? AND captured_at_ns < ?",
                    (since, until),
                ).fetchall()
            expected: dict = {}
            for at_ns, camera, verdict, score in rows:
                place = (at_ns // hour_sums.NS_PER_QUARTER, camera, verdict)
                expected.setdefault(place, []).append(score)
            for sums in ways:
                assert {place: one.count for place, one in sums.items()} == {
                    place: len(scores) for place, scores in expected.items()
                }
                assert {place: sorted(one.scores) for place, one in sums.items()} == {
                    place: sorted(score for score in scores if score is not None)
                    for place, scores in expected.items()
                }


def test_no_cell_is_a_formula(run, tmp_path) -> None:
    with SqliteSink(tmp_path / "results.db") as database:
        database.write(result_of(0, Verdict.ERROR, source="=cmd|x", reason="@SUM(A1)"))
        reason = 'a;=1,"+2\r\n＝3; check -4'
        database.write(result_of(1, Verdict.NG, source="\t=cmd|x", reason=reason))
    for words, delimiter, comma in (((), ",", "."), (("--decimal-comma",), ";", ",")):
        out = tmp_path / "out.csv"
        assert run("review", "parts", tmp_path, "--csv", out, *words).code == 0
        text = out.read_text("utf-8-sig")
        second, first = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        assert (first["source"], first["reason"]) == ("'=cmd|x", "'@SUM(A1)")
        assert second["source"] == "\\t=cmd|x"
        assert second["reason"] == "a;'=1,\"'+2\\r\\n＝3; check -4"
        assert comma in second["score"]
        # Read as the other country's spreadsheet does, no cell is a formula either.
        other = csv.reader(io.StringIO(text), delimiter=",;"[delimiter == ","])
        assert not [cell for row in other for cell in row if cell[:1] and cell[0] in "=+-@＝＋－＠"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("parts", "{tmp}"), "no results.db in it; name the folder"),
        (("parts", "{kept}", "--since", "yesterday"), "yesterday: no moment; give a date"),
        (("mark", "{kept}", "good", "999"), "part 999: there is none of this number"),
        (("mark", "{kept}", "good", "2"), "part 2: its picture is not kept"),
        (("mark", "{kept}", "perfect", "1"), "MARK"),
        (("parts", "{kept}", "--camera", "top"), "camera top: no part here is of it; there are"),
        (("hours", "{kept}", "--camera", "top"), "there are left, right"),
        (("mark", "{kept}", "good", "9" * 23), "more than 18 digits"),
        (("parts", "{kept}", "--limit", "9" * 23), "more than 18 digits"),
        (("hours", "{kept}", "--since", "9" * 23 + "d"), "no moment"),
        (("parts", "{kept}", "--since", "06:00", "--until", "05:00"), "give the day, too"),
        (("dataset", "{kept}", "{tmp}/set"), "no part is marked good or defective"),
    ],
)
def test_what_cannot_be_is_one_line(run, kept, tmp_path, words, says) -> None:
    filled = [word.format(kept=kept, tmp=tmp_path) for word in words]
    outcome = run("review", *filled)
    assert outcome.code == 2
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_list_says_of_how_many_it_is(run, kept, tmp_path) -> None:
    outcome = run("review", "parts", kept, "--limit", 5, "--csv", tmp_path / "out.csv")
    assert "5 of 32 parts; --limit takes more" in outcome.err
    (part, *_) = listed(run, kept, "--camera", "left", "--verdict", "NG")
    assert run("review", "mark", kept, "good", part["id"]).code == 0
    assert "1 of 1 parts" in run("review", "parts", kept, "--marked", "good").out
    assert listed(run, kept, "--until", "9999-12-31", "--limit", 100)
    refused = run("review", "parts", kept, "--csv", tmp_path)
    assert refused.err.startswith(f"edge: {tmp_path}: ")


def test_a_part_whose_picture_is_gone_can_be_ignored(run, kept, tmp_path) -> None:
    gone, stays, *_ = listed(run, kept, "--camera", "left", "--verdict", "NG")
    assert run("review", "mark", kept, "good", gone["id"], stays["id"]).code == 0
    for path in kept.rglob(Path(gone["picture"]).name):
        path.unlink()
    for path in (kept / "marked").rglob(f"*{Path(gone['picture']).name}"):
        path.unlink()
    refused = run("review", "dataset", kept, tmp_path / "set")
    assert "its picture is gone; mark it ignored" in refused.err
    assert run("review", "mark", kept, "ignored", gone["id"]).code == 0
    with contextlib.closing(sqlite3.connect(kept / "results.db")) as database, database:
        database.execute("UPDATE results SET camera = ''")
    (ignored,) = listed(run, kept, "--marked", "ignored")
    assert ignored["picture"] == ""
    with contextlib.closing(sqlite3.connect(kept / "results.db")) as database, database:
        database.execute("UPDATE results SET camera = 'left'")
    assert "1 good" in run("review", "dataset", kept, tmp_path / "set").err


def test_looking_into_an_empty_database_leaves_it_empty(tmp_path) -> None:
    (tmp_path / "results.db").touch()
    with pytest.raises(SinkError, match="no such table"):
        PartStore(tmp_path)
    SqliteSink(tmp_path / "results.db").close()


def test_of_several_parts_all_are_marked_or_none(kept) -> None:
    with PartStore(kept) as store:
        with pytest.raises(SinkError, match="part 2: its picture is not kept"):
            store.mark([1, 2], "good", by="ann")
        assert store.parts(PartsOptions(marked="any")) == []


def test_a_place_that_fails_leaves_no_picture_marked(kept, monkeypatch) -> None:
    with PartStore(kept) as store:
        first, second, *_ = store.parts(PartsOptions(verdict=("NG",), camera="left"))
        store.mark([first.id], "defective", by="ann")
        put = MarkedPictures.put

        def fail(self, picture, camera, mark) -> None:
            if mark == "good" and picture.name == second.picture.name:
                raise SinkError("the disk is full")
            put(self, picture, camera, mark)

        monkeypatch.setattr(MarkedPictures, "put", fail)
        with pytest.raises(SinkError, match="the disk is full"):
            store.mark([first.id, second.id], "good", by="bob")
        assert store.parts(PartsOptions(marked="good")) == []
    marked = [
        path.relative_to(kept / "marked").parts[0] for path in (kept / "marked").rglob("*.png")
    ]
    assert marked == ["defective"]


def test_a_store_that_nobody_may_write_is_read(kept, monkeypatch) -> None:
    def connect_in_a_read_only_place(path, *, read_only: bool = False, **words):
        if not read_only:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, read_only=True, **words)

    with contextlib.closing(sqlite3.connect(kept / "results.db")) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    monkeypatch.setattr(store_file, "connect", connect_in_a_read_only_place)
    with pytest.raises(SinkError, match="unable to open"):
        PartStore(kept)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with PartStore(kept) as store:
        assert len(store.parts(PartsOptions(marked="none"))) == 32
        with pytest.raises(SinkError, match="not writable"):
            store.mark([1], "ignored", by="ann")


def test_a_store_of_an_older_version_gets_what_it_lacks(kept) -> None:
    with contextlib.closing(sqlite3.connect(kept / "results.db")) as database:
        database.execute("DROP INDEX results_by_score")
    with PartStore(kept) as store:
        assert len(store.parts(PartsOptions(sort="score"))) == 32
    with contextlib.closing(sqlite3.connect(kept / "results.db")) as database:
        (*indices,) = database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")
    assert ("results_by_score",) in indices


def test_a_damaged_store_says_what_helps(kept) -> None:
    (kept / "results.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SinkError, match=r"\.recover"):
        PartStore(kept)


def test_a_foreign_database_is_refused(tmp_path) -> None:
    with sqlite3.connect(tmp_path / "results.db") as database:
        database.execute("CREATE TABLE other (x)")
    with pytest.raises(SinkError, match="another program"):
        PartStore(tmp_path)


def test_moments_are_those_of_the_machines_clock() -> None:
    now = datetime(2026, 12, 1, 15, 30, tzinfo=timezone.utc).astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for text, moment in {
        "today": midnight,
        "8h": now - timedelta(hours=8),
        "1.5d": now - timedelta(days=1.5),
        "06:00": midnight + timedelta(hours=6),
        "2026-01-31T06:00+00:00": datetime(2026, 1, 31, 6, tzinfo=timezone.utc),
        "2026-01-31": datetime(2026, 1, 31),
    }.items():
        assert ns_from_moment(text, now=now) == int(moment.timestamp()) * 10**9
