"""What a station tells of itself, and how Prometheus reads it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edge.plc.station.decided_part import DecidedLinesSink, part_from_decision
from edge.plc.station.messages import RecordState
from edge.plc.station.snapshot import (
    Counters,
    DefectBox,
    ErrorCode,
    InspectionResult,
    OfflineReason,
    Phase,
    ResultEvaluation,
    Snapshot,
    State,
)
from edge.plc.station_report import StationReport
from edge.service.result_counts import ResultCounts

ONLINE = Snapshot("line3", 7, phase=Phase.READY, online=True, counters=Counters(triggers=4))
RESULT = InspectionResult(
    *("line3", 7, 1, 0, 0, 1, "", ResultEvaluation.OK, State.COMPLETED, ErrorCode.NONE, ""),
    *(0.1, 0.5, 0, DefectBox(), 1, 2, 3, 2000, 6000, 9000),
)


class Shows:
    """What stands for a station: it shows what it is told to."""

    def __init__(self, shown: Snapshot) -> None:
        self.shown = shown

    def snapshot(self) -> Snapshot:
        return self.shown


class Tells:
    """What stands for a worker."""

    def __init__(self, *troubles: str, records: RecordState | None = None) -> None:
        self._troubles = iter(troubles)
        self.records = records or RecordState()

    @property
    def source_trouble(self) -> str:
        return next(self._troubles, "")


def report_of(shown: Snapshot, worker: Tells | None = None, **words) -> StationReport:
    return StationReport(Shows(shown), worker or Tells(), counts=ResultCounts(), **words)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({}, ""),
        ({"phase": Phase.BUSY}, ""),
        ({"phase": Phase.COMMAND}, ""),
        (
            {"phase": Phase.OFFLINE, "online": False, "offline_reason": OfflineReason.STARTING},
            "offline, starting",
        ),
        (
            {
                "phase": Phase.FAULT,
                "online": False,
                "error": ErrorCode.WORKER_LOST,
                "reason": "the worker ended",
            },
            "fault 10: the worker ended",
        ),
    ],
)
def test_it_is_ready_while_triggers_are_accepted_or_at_work(shown, reason) -> None:
    station = Shows(dataclasses.replace(ONLINE, **shown))
    report = report_of(station.shown).to_json()
    assert report["ready"] == (not reason)
    assert report["reasons"] == ({"line3": reason} if reason else {})
    assert (report["station"]["ready"], report["station"]["reason"]) == (not reason, reason)
    json.dumps(report, allow_nan=False)


def test_results_are_counted_and_exposed(tmp_path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    from edge.service.metrics import metrics_from_report

    with DecidedLinesSink(tmp_path / "results.jsonl") as lines:
        report = report_of(ONLINE, sinks=[lines])
        for evaluation, state in (
            (ResultEvaluation.OK, State.COMPLETED),
            (ResultEvaluation.NOT_OK, State.COMPLETED),
            (ResultEvaluation.OK, State.ABORTED),
            (ResultEvaluation.UNDEFINED, State.FAILED),
        ):
            report.count(dataclasses.replace(RESULT, evaluation=evaluation, state=state))
        told = report.to_json()
    own = told["station"]
    assert (own["ok"], own["ng"], own["error"]) == (1, 1, 2)
    assert own["latency_ms"]["buckets"]["10"] == 4
    assert own["stage_ms"] == {"acquire": 8.0, "process": 24.0}
    assert (told["troubles"], told["not_written"]) == ([], 0)
    text, _ = metrics_from_report(told)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert found["edge_ready",] == 1
    assert found["edge_station_online", "line3"] == 1
    assert found["edge_station_triggers_total", "line3"] == 4
    assert found["edge_station_results_total", "line3", "ERROR"] == 2
    assert found["edge_station_latency_seconds_count", "line3"] == 4
    assert found["edge_station_latency_seconds_sum", "line3"] == pytest.approx(0.036)


def test_what_is_wrong_with_the_source_is_a_trouble_as_long_as_it_lasts() -> None:
    report = report_of(ONLINE, Tells("post://0.0.0.0:8080: all places are taken", ""))
    assert report.to_json()["troubles"] == ["post://0.0.0.0:8080: all places are taken"]
    told = report.to_json()
    assert (told["troubles"], told["ready"]) == ([], True)


def test_a_disk_that_is_full_is_a_trouble() -> None:
    worker = Tells(records=RecordState("kept: disk full", 4))  # by the worker as well
    with DecidedLinesSink("/dev/full") as lines:
        lines.write(part_from_decision(RESULT, source="cam"))
        report = report_of(ONLINE, worker, sinks=[lines]).to_json()
    assert report["not_written"] == 1 + 4
    assert "/dev/full" in report["troubles"][0]
    assert report["troubles"][1:] == ["kept: disk full"]
    assert report["sinks_in_trouble"] == 2
