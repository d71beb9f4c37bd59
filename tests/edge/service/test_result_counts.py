"""Results are counted once, for whoever asks."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from cameras.frame import Frame
from cameras.source import frame_now
from edge.result import Result, Verdict
from edge.service import result_counts as module
from edge.service.result_counts import LATENCIES_KEPT, ResultCounts

IMAGE = np.zeros((4, 4, 3), np.uint8)


def pair(*, verdict: Verdict = Verdict.OK, age_ms: float = 0.0) -> tuple[Frame, Result]:
    taken = frame_now("cam", 0, IMAGE if verdict is not Verdict.ERROR else None)
    frame = dataclasses.replace(taken, monotonic_ns=taken.monotonic_ns - int(age_ms * 1e6))
    speed = {} if verdict is Verdict.ERROR else {"prepare": 1.0, "engine": 7.5}
    reason = "cam: gone" if verdict is Verdict.ERROR else ""
    return frame, Result("cam", 0, 0, verdict, 0.1, 0.5, speed=speed, reason=reason)


def test_a_cameras_latency_is_from_capture_and_a_files_that_of_its_stages() -> None:
    live, files = ResultCounts(), ResultCounts(live=False)
    for counts in (live, files):
        counts.add(*pair(age_ms=60_000))
        counts.add(*pair(verdict=Verdict.ERROR))  # has none
    assert live.latencies_ms == [pytest.approx(60_000, abs=20_000)]
    assert files.latencies_ms == [8.5]
    assert {end: n for end, n in live.to_json()["latency_ms"]["buckets"].items() if n} == {
        "+Inf": 1
    }
    assert files.to_json()["latency_ms"]["buckets"]["10"] == 1
    assert files.to_json()["latency_ms"]["sum"] == 8.5
    assert files.to_json()["stage_ms"] == {"prepare": 1.0, "engine": 7.5}


def test_a_day_goes_on_after_a_restart_and_ends_at_midnight(monkeypatch) -> None:
    days = [module.date(2026, 12, 1)]

    class Calendar:
        @staticmethod
        def today():
            return days[-1]

    monkeypatch.setattr(module, "date", Calendar)
    counts = ResultCounts()
    counts.add(*pair(verdict=Verdict.NG))
    counts.continue_day(days[0], {Verdict.OK: 100, Verdict.NG: 3})  # late, of a locked database
    assert counts.today() == {"ok": 100, "ng": 4, "error": 0}
    assert counts.verdicts == {Verdict.NG: 1}
    days.append(days[0].replace(day=2))
    assert counts.today() == {"ok": 0, "ng": 0, "error": 0}
    counts.add(*pair())
    assert counts.today() == {"ok": 1, "ng": 0, "error": 0}
    assert counts.to_json()["ng"] == 1
    days.append(days[0])  # the clock is set back
    assert counts.today() == {"ok": 100, "ng": 4, "error": 0}
    for number in range(3, 9):
        days.append(days[0].replace(day=number))
        counts.add(*pair())
    assert len(counts._days) == module.DAYS_KEPT


def test_what_was_last_is_known() -> None:
    counts = ResultCounts()
    assert (counts.reason, counts.judged_s, counts.captured_s) == ("no frame yet", None, None)
    counts.add(*pair(verdict=Verdict.ERROR))
    assert (counts.reason, counts.judged_s, counts.captured_s) == ("cam: gone", None, None)
    counts.add(*pair(verdict=Verdict.NG))
    assert counts.reason == ""
    assert counts.began_s <= counts.captured_s <= counts.judged_s == counts.last_s


def test_the_end_of_a_bucket_belongs_to_it_and_old_latencies_go() -> None:
    counts = ResultCounts()
    for _ in range(LATENCIES_KEPT + 5):
        counts.count(Verdict.OK, latency_ms=20, stages_ms={})
    assert counts.to_json()["latency_ms"]["buckets"]["20"] == LATENCIES_KEPT + 5
    assert len(counts.latencies_ms) == LATENCIES_KEPT


def test_whoever_reads_meets_no_half_of_a_result() -> None:
    counts, ended = ResultCounts(live=False), threading.Event()

    def add() -> None:
        while not ended.is_set():
            counts.add(*pair())

    adding = threading.Thread(target=add)
    adding.start()
    for _ in range(300):
        found = counts.to_json()
        assert found["stage_ms"].get("prepare", 0.0) == found["ok"]
        assert sum(found["latency_ms"]["buckets"].values()) == found["ok"]
    ended.set()
    adding.join()
