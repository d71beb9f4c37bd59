"""A station whose worker is a process: killed, stopped, crashed, and what is left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from processes import gone

from cameras.child_link import message_from_packet, packet_from_message
from edge.plc.station.messages import (
    FROM_WORKER,
    TO_WORKER,
    Answer,
    Change,
    Changed,
    Failed,
    Job,
    JudgeOptions,
    Ready,
    Recipe,
    SourceTrouble,
    StationOptions,
    WorkerSetup,
)
from edge.plc.station.process_worker import ProcessWorker
from edge.plc.station.snapshot import (
    Decision,
    DefectBox,
    ErrorCode,
    OfflineReason,
    ResultEvaluation,
)
from edge.plc.station.station import Station

RIG = Path(__file__).resolve().parents[3] / "rig"
WORKER = (sys.executable, str(RIG / "station_worker.py"))
JUDGE = JudgeOptions(recipes={1: "a.edge"}, source="none")
OPTIONS = StationOptions(deadline_ms=20_000, recipes=frozenset({1, 2, 8, 9}))
PATIENCE_S = 60.0
STALL_300_MS, CRASH = 300 * 1_000_000, 4_000_000_000


@pytest.fixture(autouse=True)
def _quick_and_quiet(caplog, monkeypatch):
    caplog.set_level(logging.CRITICAL, logger="edge.plc.station")
    monkeypatch.setattr("cameras.child_process.PAUSES_S", (0.01,))


@pytest.fixture
def worker() -> ProcessWorker:
    return ProcessWorker(JUDGE, command=WORKER)


@pytest.fixture
def station(worker):
    with Station(worker, options=OPTIONS) as opened:
        opened.wait_ready(PATIENCE_S)
        yield opened


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_parts_and_recipes_go_through(station) -> None:
    for part in (100, 700, 300):
        result = station.inspect(part_id=part)
        assert (result.part_id, result.score) == (part, part / 1000)
        assert (result.decision is Decision.REJECT) == (part == 700)
        assert result.worst == (DefectBox(1, 2, 3, 4) if part == 700 else DefectBox())
        assert result.simulated
    assert station.recipe(2)
    station.when(lambda shown: shown.recipe_id == 2 and shown.ready).result(PATIENCE_S)
    assert station.recipe(9)
    shown = station.when(lambda shown: shown.command_error).result(PATIENCE_S)
    assert shown.command_error is ErrorCode.RECIPE_REFUSED
    assert "golden image" in shown.reason
    assert station.inspect().recipe_id == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_lost_is_a_fault_and_comes_back(station, worker, number) -> None:
    station.recipe(2)
    station.when(lambda shown: shown.recipe_id == 2 and shown.ready).result(PATIENCE_S)
    first = worker.process_id
    os.kill(first, number)
    shown = station.when(lambda shown: not shown.ready).result(PATIENCE_S)
    lost = ErrorCode.WORKER_LOST if number == signal.SIGKILL else ErrorCode.WORKER_HUNG
    assert (shown.fault, shown.error, shown.decision) == (True, lost, Decision.FAULT)
    heartbeat = station.snapshot().heartbeat
    assert station.trigger() is None
    assert gone(first)
    station.reset()
    assert station.snapshot().heartbeat == heartbeat or station.snapshot().ready
    shown = station.wait_ready(PATIENCE_S)
    assert (shown.recipe_id, shown.counters.restarts, shown.counters.faults) == (2, 1, 1)
    assert station.inspect(part_id=700).decision is Decision.REJECT
    assert worker.process_id != first


def test_a_worker_that_crashes_in_the_middle_of_a_part(station) -> None:
    result = station.inspect(part_id=CRASH)
    assert (result.error, result.decision) == (ErrorCode.WORKER_LOST, Decision.REJECT)
    assert "SIGABRT" in result.reason
    station.reset()
    station.wait_ready(PATIENCE_S)
    assert station.inspect(part_id=1).seq == 2


def test_a_stalled_engine_keeps_its_process(station, worker) -> None:
    first = worker.process_id
    for _ in range(2):
        result = station.inspect(part_id=STALL_300_MS, deadline_ms=50)
        assert (result.error, result.decision) == (ErrorCode.DEADLINE, Decision.REJECT)
        station.wait_ready(PATIENCE_S)
        assert station.inspect(part_id=600).score == 0.6
        station.wait_ready(PATIENCE_S)
    assert station.snapshot().counters.late == 2
    assert worker.process_id == first


def test_an_engine_that_hangs_is_replaced() -> None:
    worker = ProcessWorker(JUDGE, command=WORKER)
    options = StationOptions(deadline_ms=50, hang_after_s=0.5, latch=False)
    with Station(worker, options=options) as station:
        station.wait_ready(PATIENCE_S)
        first = worker.process_id
        assert station.inspect(part_id=4000 * 1_000_000 - 1).error is ErrorCode.DEADLINE
        shown = station.when(lambda shown: shown.fault).result(PATIENCE_S)
        assert shown.error is ErrorCode.WORKER_HUNG
        assert gone(first)
        assert station.wait_ready(PATIENCE_S).counters.restarts == 1


@pytest.mark.parametrize(
    ("recipe_id", "code"), [(9, ErrorCode.WORKER_START), (8, ErrorCode.TOO_SLOW)]
)
def test_a_worker_that_cannot_begin_says_why(recipe_id, code) -> None:
    worker = ProcessWorker(JUDGE, recipe_id=recipe_id, command=WORKER)
    with Station(worker, options=OPTIONS) as station:
        shown = station.when(lambda shown: shown.fault).result(PATIENCE_S)
        assert shown.error is code
        assert shown.reason.startswith(f"recipe {recipe_id}: ")
        again = station.when(lambda shown: shown.counters.restarts > 1).result(PATIENCE_S)
        assert again.error is code, "the first cause stays"


def test_a_command_that_is_not_there() -> None:
    worker = ProcessWorker(JUDGE, command=("/nowhere/python",))
    with Station(worker, options=OPTIONS) as station:
        shown = station.when(lambda shown: shown.fault).result(PATIENCE_S)
        assert shown.error is ErrorCode.WORKER_START
        assert "cannot be started" in shown.reason


def test_a_worker_that_is_never_ready_is_started_again() -> None:
    command = (sys.executable, "-c", "import time; time.sleep(99)")
    worker = ProcessWorker(JUDGE, command=command, start_after_s=0.1)
    with Station(worker, options=OPTIONS) as station:
        shown = station.when(lambda shown: shown.fault).result(PATIENCE_S)
        assert "not ready within 0.1 s" in shown.reason
        first = worker.process_id
        station.when(lambda shown: shown.counters.restarts > 1).result(PATIENCE_S)
    assert first is None or gone(first)


def test_a_worker_that_compiles_a_plan_is_left_alone_while_it_moves_on(monkeypatch) -> None:
    """Minutes on a Jetson: killing it after two, again and again, would never let it end."""
    monkeypatch.setenv("RIG_COMPILES_S", "1.5")
    worker = ProcessWorker(JUDGE, command=WORKER, start_after_s=1.0)
    with Station(worker, options=replace(OPTIONS, load_after_s=1.0)) as station:
        shown = station.when(lambda shown: shown.ready or shown.fault).result(PATIENCE_S)
        assert shown.ready, shown.reason
        station.recipe(2)
        shown = station.when(lambda shown: shown.recipe_id == 2 or shown.fault).result(PATIENCE_S)
        assert not shown.fault
        assert shown.counters.restarts == 0


def test_close_leaves_no_process_and_no_descriptor() -> None:
    before = open_descriptors()
    worker = ProcessWorker(JUDGE, command=WORKER)
    with Station(worker, options=OPTIONS) as station:
        station.wait_ready(PATIENCE_S)
        process_id = worker.process_id
        station.trigger(part_id=STALL_300_MS)
    assert station.snapshot().offline_reason is OfflineReason.CLOSED
    assert gone(process_id, 5.0)
    assert open_descriptors() == before


PARENT = """
import sys, time
from edge.plc.station.station import Station
from edge.plc.station.messages import JudgeOptions, StationOptions
from edge.plc.station.process_worker import ProcessWorker
worker = ProcessWorker(JudgeOptions({1: "a"}, "none"), command=(sys.executable, sys.argv[1]))
station = Station(worker, options=StationOptions(deadline_ms=20_000))
station.wait_ready(60)
print(worker.process_id, flush=True)
station.trigger(part_id=int(sys.argv[2]))
time.sleep(600)
"""


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("part_id", [1, 4_000 * 1_000_000 - 1])
def test_a_killed_station_leaves_no_orphan(tmp_path, *, stopped: bool, part_id: int) -> None:
    """Whoever dies first: also a worker that is stopped, or in the middle of a part."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, WORKER[1], str(part_id)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if stopped:
            os.kill(child, signal.SIGSTOP)
        parent.kill()
        assert gone(child, 10.0)
    finally:
        parent.kill()
        parent.communicate()


MESSAGES = [
    WorkerSetup({"recipes": {"1": "a"}}, 2),
    Job(1, 2, 3, 4, 5),
    Change(3),
    Ready(Recipe(1, "ab", 0.25, True)),
    Answer(
        5,
        ResultEvaluation.NOT_OK,
        ErrorCode.ENGINE,
        "wörter\n",
        0.5,
        2,
        DefectBox(1, 2, 3, 4),
        6,
        7,
        8,
    ),
    Answer(5, ResultEvaluation.NOT_DECIDABLE),
    Changed(Recipe(2), ErrorCode.RECIPE_REFUSED, "no"),
    Failed(ErrorCode.TOO_SLOW, "slow"),
    SourceTrouble("all places are taken"),
]
KINDS = {kind.__name__: kind for kind in (*TO_WORKER, *FROM_WORKER)}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_as_they_went(message) -> None:
    found = message_from_packet(packet_from_message(message), KINDS)
    assert found == message
    if isinstance(found, Answer):
        assert (type(found.evaluation), type(found.error)) == (ResultEvaluation, ErrorCode)


def test_what_is_wrong_with_a_source_is_known_until_it_is_over_or_the_worker_is_another() -> None:
    worker = ProcessWorker(JUDGE)
    assert worker.source_trouble == ""
    worker.on_message(SourceTrouble("all places are taken"))
    assert worker.source_trouble == "all places are taken"
    worker.on_message(SourceTrouble(""))
    assert worker.source_trouble == ""
    worker.on_message(SourceTrouble("all places are taken"))
    worker.on_start()
    assert worker.source_trouble == ""


def test_nothing_heavy_is_in_the_process_that_serves() -> None:
    code = textwrap.dedent("""
        import sys
        import edge.plc.station.process_worker, edge.plc.station.station
        heavy = {"cv2", "numpy", "onnx", "onnxruntime", "openvino", "torch"}
        print(sorted(heavy & set(sys.modules)))
    """)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
