"""A station with a worker of this process: three forms, many threads, recipes, listeners."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.plc.station.messages import Answer, Recipe, StationOptions
from edge.plc.station.snapshot import (
    Control,
    Decision,
    ErrorCode,
    Phase,
    ResultEvaluation,
    StationError,
)
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker
from edge.plc.station.worker import RecipeError

OPTIONS = StationOptions(deadline_ms=20_000, recipes=frozenset({1, 2, 9}))
PATIENCE_S = 30.0


class ScoringInspector:
    """Scores by the part's id; waits where a test holds the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self.threads: set[str] = set()

    def load(self, recipe_id: int, progress: object) -> Recipe:
        if recipe_id == 9:
            raise RecipeError("recipe 9: its self-test fails")
        return Recipe(recipe_id, threshold=0.5)

    def inspect(self, job) -> Answer:
        self.threads.add(threading.current_thread().name)
        if job.part_id == 13:
            raise RuntimeError("an engine's bug\nof two lines")
        self.gate.wait(PATIENCE_S)
        score = job.part_id / 1000
        good = ResultEvaluation.OK if score < 0.5 else ResultEvaluation.NOT_OK
        return Answer(job.seq, good, score=score)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def judge() -> ScoringInspector:
    return ScoringInspector()


@pytest.fixture
def station(judge):
    with Station(ThreadWorker(judge), options=OPTIONS) as opened:
        opened.wait_ready(PATIENCE_S)
        yield opened
        judge.gate.set()


def test_blocking(station) -> None:
    assert station.inspect(part_id=100).decision is Decision.PASS
    result = station.inspect(part_id=700, trigger_id=5)
    assert (result.decision, result.trigger_id, result.part_id) == (Decision.REJECT, 5, 700)
    assert station.snapshot().result is None, "acknowledged"
    assert station.snapshot().seq == 2


def test_asyncio(station) -> None:
    async def line() -> list[Decision]:
        return [
            (await station.inspect_async(part_id=part)).decision for part in (100, 600, 200, 900)
        ]

    assert asyncio.run(line()) == [Decision.PASS, Decision.REJECT] * 2


def test_a_cancelled_wait_leaves_the_part_to_the_station(station, judge) -> None:
    async def line() -> None:
        judge.gate.clear()
        waiting = asyncio.create_task(station.inspect_async(part_id=1))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(line())
    judge.gate.set()
    assert station.wait_ready(PATIENCE_S).counters.passed == 1


def test_callback(station) -> None:
    done = threading.Event()
    seen = []

    def decided(future) -> None:
        seen.append(future.result().decision)
        done.set()

    station.submit(part_id=600).add_done_callback(decided)
    assert done.wait(PATIENCE_S)
    assert seen == [Decision.REJECT]


def test_not_ready_is_said_and_counted(station, judge) -> None:
    judge.gate.clear()
    first = station.submit(part_id=1)
    with pytest.raises(StationError, match="not ready: busy"):
        station.inspect()
    assert station.trigger() is None
    judge.gate.set()
    assert first.result(PATIENCE_S).decision is Decision.PASS
    assert station.snapshot().counters.missed == 2


def test_a_stalled_engine_is_answered_and_the_next_part_is_right(station, judge) -> None:
    for part in range(3):
        judge.gate.clear()
        result = station.inspect(part_id=part, deadline_ms=30)
        assert (result.decision, result.error) == (Decision.REJECT, ErrorCode.DEADLINE)
        assert result.evaluation is ResultEvaluation.UNDEFINED
        shown = station.snapshot()
        assert (shown.phase, shown.busy) == (Phase.RELEASE, True)
        judge.gate.set()
        station.wait_ready(PATIENCE_S)
        result = station.inspect(part_id=600 + part)
        assert (result.part_id, result.score) == (600 + part, (600 + part) / 1000)
        station.wait_ready(PATIENCE_S)
    counters = station.snapshot().counters
    assert (counters.timeouts, counters.late, counters.missed) == (3, 3, 0)


def test_an_error_that_nobody_foresaw_costs_one_part(station, caplog) -> None:
    with caplog.at_level(logging.CRITICAL, logger="edge.plc.station"):
        result = station.inspect(part_id=13)
    assert (result.error, result.decision) == (ErrorCode.ENGINE, Decision.REJECT)
    assert result.reason.startswith("RuntimeError: an engine's bug")
    assert station.inspect(part_id=1).decision is Decision.PASS


def test_recipes_change_and_are_refused(station) -> None:
    assert asyncio.run(station.recipe_async(2)) is ErrorCode.NONE
    assert station.inspect().recipe_id == 2
    assert asyncio.run(station.recipe_async(9)) is ErrorCode.RECIPE_REFUSED
    assert asyncio.run(station.recipe_async(5)) is ErrorCode.UNKNOWN_RECIPE
    shown = station.snapshot()
    assert (shown.recipe_id, shown.ready) == (2, True)
    assert station.inspect().recipe_id == 2


def test_levels(station) -> None:
    low = Control(enable=True)
    station.control(low)
    station.control(Control(enable=True, trigger=True, trigger_id=9, part_id=600))
    shown = station.when(lambda now: now.valid).result(PATIENCE_S)
    assert shown.result is not None and shown.trigger_acknowledged
    assert (shown.result.trigger_id, shown.decision) == (9, Decision.REJECT)
    station.control(Control(enable=True, acknowledge=True))
    assert station.control(low).ready


def test_one_of_many_threads_gets_the_station(station, judge) -> None:
    """Each accepted part is decided once, with its own id, whoever asks at the same time."""
    parts, answers = range(400), []

    def ask(part: int) -> None:
        while True:
            try:
                answers.append((part, station.inspect(part_id=part)))
                return
            except StationError:
                time.sleep(0)

    heard = []
    station.on_result(heard.append)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, parts))
    assert all(part == result.part_id for part, result in answers)
    assert sorted(result.seq for _, result in answers) == list(range(1, 401))
    assert judge.threads == {"edge-worker"}
    station.close()
    assert [result.seq for result in heard] == list(range(1, 401)), "in order"


def test_a_listener_that_fails_or_blocks_delays_nobody(station, caplog) -> None:
    blocked, seen = threading.Event(), []

    def block(_result) -> None:
        blocked.wait(PATIENCE_S)

    def fail(result) -> None:
        seen.append(result)
        raise ValueError("a bridge's bug")

    station.on_result(block)
    station.on_result(fail)
    with caplog.at_level(logging.CRITICAL, logger="edge.plc.station"):
        for part in range(20):
            assert station.inspect(part_id=part).part_id == part
        blocked.set()
        station.close()
    assert len(seen) == 1, "not called again"


def test_a_listener_may_call_the_station(station) -> None:
    """A bridge that acknowledges from its listener must not lock itself out."""
    acknowledged = threading.Event()
    station.on_change(lambda shown: shown.valid and station.acknowledge() and acknowledged.set())
    station.trigger()
    assert acknowledged.wait(PATIENCE_S)
    assert station.wait_ready(PATIENCE_S).seq == 1


def test_a_listener_can_be_taken_off(station) -> None:
    heard: queue.SimpleQueue[object] = queue.SimpleQueue()
    cancel = station.on_result(heard.put)
    station.inspect()
    heard.get(timeout=PATIENCE_S)
    cancel()
    station.inspect()
    station.close()
    assert heard.empty()


@pytest.mark.parametrize("flushed", [False, True])
def test_what_was_decided_before_the_end_reaches_a_slow_listener(station, *, flushed: bool) -> None:
    heard: list[int] = []

    def hear(result) -> None:
        time.sleep(0.005)
        heard.append(result.part_id)

    cancel = station.on_result(hear)
    for part in range(40):
        station.inspect(part_id=part)
    if flushed:
        assert station.flush(PATIENCE_S)
        cancel()
    else:
        station.close()
        assert station.flush()
    assert heard == list(range(40))


def test_the_part_that_the_end_cuts_short_reaches_listeners(station, judge) -> None:
    heard: list[ErrorCode] = []
    station.on_result(lambda result: heard.append(result.error))
    station.inspect()
    judge.gate.clear()
    station.trigger()
    threading.Timer(0.05, judge.gate.set).start()
    station.close()
    assert heard == [ErrorCode.NONE, ErrorCode.ABORTED]


def test_a_listener_that_hangs_keeps_the_end_waiting_for_so_long(
    station, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("edge.plc.station.listeners.CLOSE_AFTER_S", 0.2)
    released, heard = threading.Event(), []

    def hang(result) -> None:
        heard.append(result)
        released.wait(PATIENCE_S)

    station.on_result(hang)
    for _ in range(5):
        station.inspect()
    begun = time.monotonic()
    assert not station.flush(0.1)
    with caplog.at_level(logging.CRITICAL, logger="edge.plc.station"):
        station.close()
    assert time.monotonic() - begun < PATIENCE_S / 2
    assert not station.flush(), "some were lost"
    released.set()
    time.sleep(0.05)
    assert len(heard) == 1, "nobody calls a listener after the end"


def test_a_listener_may_close_the_station(station) -> None:
    heard: list[int] = []

    def hear(result) -> None:
        heard.append(result.seq)
        if result.seq == 1:
            assert not station.flush(), "it would wait for itself"
            while station.snapshot().seq < 3:
                time.sleep(0.001)
            station.close()

    station.on_result(hear)
    for _ in range(3):
        station.inspect()
    limit = time.monotonic() + PATIENCE_S
    while heard != [1, 2, 3] and time.monotonic() < limit:
        time.sleep(0.01)
    assert heard == [1, 2, 3]


def test_a_worker_that_cannot_begin_is_a_fault() -> None:
    with (
        Station(ThreadWorker(ScoringInspector(), recipe_id=9), options=OPTIONS) as station,
        pytest.raises(StationError, match="not ready within"),
    ):
        shown = station.when(lambda now: now.fault).result(PATIENCE_S)
        assert shown.error is ErrorCode.WORKER_START
        station.wait_ready(0.01)


def test_close_ends_what_waits_and_every_thread(judge) -> None:
    before = threading.active_count()
    station = Station(ThreadWorker(judge), options=OPTIONS)
    station.wait_ready(PATIENCE_S)
    judge.gate.clear()
    part = station.submit()
    never = station.when(lambda shown: shown.recipe_id == 77)
    threading.Timer(0.05, judge.gate.set).start()
    station.close()
    station.close()
    assert part.result(PATIENCE_S).error is ErrorCode.ABORTED
    with pytest.raises(StationError, match="closed"):
        never.result(PATIENCE_S)
    with pytest.raises(StationError, match="closed"):
        station.when(lambda shown: True)
    assert station.snapshot().phase is Phase.OFFLINE
    assert judge.closed
    assert threading.active_count() <= before + 1, "the timer of this test at most"
