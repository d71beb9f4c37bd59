"""The station's state machine against a model that says what may be shown, with its own clock."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hand_clock import (
    ACK,
    DEADLINE_MS,
    HANG_MS,
    LOW,
    MS,
    RECIPE,
    UP,
    answer,
    machine_of,
    ready_machine,
)

from edge.plc.station.messages import Decided, Job, Recipe, Replace, StationOptions
from edge.plc.station.snapshot import (
    CommandState,
    Decision,
    ErrorCode,
    OfflineReason,
    Phase,
    ResultEvaluation,
    State,
    word_from_sequence,
)


def test_the_handshake_of_a_plc_step_by_step() -> None:
    machine, clock = ready_machine()
    machine.control(LOW)
    shown = machine.control(UP)
    assert (shown.phase, shown.trigger_acknowledged, shown.ready) == (Phase.BUSY, True, False)
    assert shown.result is None
    assert machine.control(LOW).trigger_acknowledged is False
    clock.pass_ms(10)
    answer(machine, 1)
    shown = machine.snapshot()
    assert shown.valid and shown.completed and shown.result is not None
    assert (shown.result.trigger_id, shown.result.part_id) == (3, 70_000)
    assert shown.result.latency_us == 10_000
    assert shown.decision is Decision.PASS
    shown = machine.control(ACK)
    assert (shown.valid, shown.ready, shown.decision) == (False, False, Decision.NONE)
    assert machine.control(LOW).ready


def test_a_trigger_that_is_high_at_the_start_is_no_edge() -> None:
    machine, _ = ready_machine()
    assert machine.control(UP).phase is Phase.READY
    assert machine.snapshot().counters.missed == 0
    machine.control(LOW)
    assert machine.control(UP).phase is Phase.BUSY


def test_nor_is_one_that_was_high_through_a_fault() -> None:
    machine, _ = ready_machine()
    machine.control(LOW)
    machine.control(UP)
    machine.worker_lost(ErrorCode.WORKER_LOST, "gone")
    machine.worker_ready(RECIPE)
    machine.control(replace(UP, clear_error=True))
    assert machine.snapshot().ready
    assert machine.snapshot().counters.triggers == 1


def test_an_acknowledge_that_is_high_too_early_takes_nothing_away() -> None:
    """Results that lag one trigger come from a station that takes a level for an edge."""
    machine, _ = ready_machine()
    machine.control(LOW)
    machine.control(UP)
    machine.control(replace(UP, acknowledge=True))
    answer(machine, 1)
    assert machine.snapshot().valid
    machine.control(LOW)
    assert machine.snapshot().valid
    assert not machine.control(ACK).valid


def test_acknowledge_low_and_the_next_trigger_in_one_write() -> None:
    machine, _ = ready_machine()
    machine.control(LOW)
    machine.control(UP)
    answer(machine, 1)
    machine.control(ACK)
    assert machine.control(UP).phase is Phase.BUSY
    assert machine.snapshot().seq == 2


def test_a_missed_deadline_is_answered_in_time_and_the_late_answer_thrown_away() -> None:
    machine, clock = ready_machine()
    machine.trigger(part_id=5)
    assert machine.due_ns() == clock.now_ns + DEADLINE_MS * MS
    clock.pass_ms(DEADLINE_MS)
    shown = machine.snapshot()
    assert shown.valid and shown.busy and shown.result is not None
    assert shown.result.evaluation is ResultEvaluation.UNDEFINED
    assert shown.result.error is ErrorCode.DEADLINE
    assert shown.decision is Decision.REJECT
    assert machine.acknowledge()
    assert machine.snapshot().phase is Phase.RELEASE, "the worker is not idle: not ready"
    assert machine.trigger() is None
    answer(machine, 1)
    shown = machine.snapshot()
    assert shown.ready and shown.overrun and not shown.valid
    assert shown.counters.late == shown.counters.timeouts == 1


def test_an_answer_at_the_deadline_itself_is_late() -> None:
    machine, clock = ready_machine()
    machine.trigger()
    clock.pass_ms(DEADLINE_MS)
    answer(machine, 1)
    assert machine.results[0].error is ErrorCode.DEADLINE
    assert machine.snapshot().counters.late == 1


def test_the_heartbeat_goes_on_only_while_the_loop_lives() -> None:
    machine, clock = machine_of()
    clock.pass_ms(1000)
    assert machine.snapshot().heartbeat == 0, "no worker"
    machine.worker_ready(RECIPE)
    clock.pass_ms(250)
    assert machine.snapshot().heartbeat == 2
    machine.trigger(deadline_ms=10)
    for _ in range(7):
        clock.pass_ms(50)
        machine.catch_up()
    assert machine.snapshot().heartbeat == 4, "stalled after 200 ms"
    answer(machine, 1)
    clock.pass_ms(100)
    assert machine.snapshot().heartbeat == 5
    machine.worker_lost(ErrorCode.WORKER_LOST, "gone")
    clock.pass_ms(1000)
    assert machine.snapshot().heartbeat == 5


def test_a_worker_that_hangs_is_replaced_once() -> None:
    machine, clock = ready_machine()
    machine.trigger()
    clock.pass_ms(HANG_MS)
    shown = machine.snapshot()
    assert shown.fault and shown.error is ErrorCode.WORKER_HUNG
    clock.pass_ms(HANG_MS)
    machine.reset()
    assert [type(order) for order in machine.orders] == [Job, Replace]
    assert machine.snapshot().offline_reason is OfflineReason.STARTING
    machine.worker_lost(ErrorCode.WORKER_LOST, "killed")
    machine.worker_ready(RECIPE)
    machine.reset()
    assert machine.snapshot().ready


@pytest.mark.parametrize("latch", [True, False])
def test_a_fault_stays_until_it_is_cleared_if_it_shall(*, latch: bool) -> None:
    machine, _ = ready_machine(latch=latch)
    machine.worker_lost(ErrorCode.WORKER_LOST, "gone")
    assert machine.snapshot().fault
    machine.worker_ready(RECIPE)
    assert machine.snapshot().ready != latch
    machine.reset()
    assert machine.snapshot().ready


def test_a_fault_cleared_before_the_worker_is_back() -> None:
    machine, _ = ready_machine()
    machine.worker_lost(ErrorCode.WORKER_LOST, "gone")
    machine.reset()
    assert machine.snapshot().offline_reason is OfflineReason.STARTING
    machine.worker_ready(RECIPE)
    assert machine.snapshot().ready


def test_commands_by_the_word() -> None:
    machine, _ = ready_machine()
    machine.control(LOW)

    def command(code: int, argument: int = 0):
        machine.control(LOW)
        return machine.control(replace(LOW, execute=True, command=code, argument=argument))

    assert command(7).command_error is ErrorCode.UNKNOWN_COMMAND
    assert command(1, 9).command_error is ErrorCode.UNKNOWN_RECIPE
    assert machine.control(LOW).command is CommandState.IDLE
    shown = command(1, 2)
    assert (shown.command, shown.phase, shown.ready) == (
        CommandState.EXECUTING,
        Phase.COMMAND,
        False,
    )
    assert machine.trigger() is None
    machine.worker_changed(Recipe(2), ErrorCode.NONE, "")
    shown = machine.snapshot()
    assert (shown.command, shown.recipe_id, shown.ready) == (CommandState.COMPLETED, 2, True)
    assert command(2).command is CommandState.COMPLETED
    assert machine.snapshot().counters.missed == 0, "zeroed"


def test_a_recipe_that_is_refused_leaves_the_one_before() -> None:
    machine, _ = ready_machine()
    assert machine.recipe(2)
    machine.worker_changed(RECIPE, ErrorCode.RECIPE_REFUSED, "self-test: 0.9 instead of 0.1")
    shown = machine.snapshot()
    assert (shown.command, shown.error) == (CommandState.FAILED, ErrorCode.RECIPE_REFUSED)
    assert (shown.recipe_id, shown.ready) == (1, True)


def test_no_recipe_in_the_middle_of_a_part() -> None:
    machine, _ = ready_machine()
    machine.trigger()
    assert not machine.recipe(2)
    assert machine.snapshot().command_error is ErrorCode.NOT_NOW
    assert machine.snapshot().phase is Phase.BUSY


def test_two_sources_hold_their_own_levels() -> None:
    machine, _ = ready_machine()
    machine.control(LOW, source="modbus")
    machine.control(LOW, source="opcua")
    machine.control(UP, source="modbus")
    assert machine.control(LOW, source="opcua").trigger_acknowledged
    assert not machine.control(LOW, source="modbus").trigger_acknowledged
    machine.control(replace(LOW, offline=True), source="opcua")
    answer(machine, 1)
    machine.acknowledge()
    assert machine.snapshot().offline_reason is OfflineReason.REQUESTED
    machine.control(LOW, source="opcua")
    assert machine.snapshot().ready


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"score": math.inf}, ErrorCode.ENGINE),
        ({"score": None}, ErrorCode.ENGINE),
        ({"evaluation": ResultEvaluation.UNDEFINED}, ErrorCode.ENGINE),
        ({"error": ErrorCode.NO_PICTURE, "reason": "no frame"}, ErrorCode.NO_PICTURE),
    ],
)
def test_what_is_not_sure_is_rejected(words, error) -> None:
    machine, _ = ready_machine()
    machine.trigger()
    answer(machine, 1, **words)
    result = machine.results[0]
    assert (result.error, result.evaluation) == (error, ResultEvaluation.NOT_DECIDABLE)
    assert result.decision is Decision.REJECT
    assert result.state is State.FAILED
    assert result.score is None or math.isfinite(result.score)


def test_closing_aborts_the_part_and_shows_nothing() -> None:
    machine, _ = ready_machine()
    machine.trigger()
    machine.close()
    assert machine.results[0].error is ErrorCode.ABORTED
    shown = machine.snapshot()
    assert (shown.valid, shown.offline_reason) == (False, OfflineReason.CLOSED)
    machine.worker_ready(RECIPE)
    machine.reset()
    assert machine.trigger() is None
    assert not machine.recipe(1)
    machine.worker_lost(ErrorCode.WORKER_LOST, "gone")
    assert machine.snapshot().phase is Phase.OFFLINE


@pytest.mark.parametrize(
    "words", [{"trigger_id": 65536}, {"part_id": -1}, {"deadline_ms": 0}, {"deadline_ms": math.nan}]
)
def test_numbers_out_of_range_are_refused(words) -> None:
    machine, _ = ready_machine()
    with pytest.raises(ValueError, match=r"out of range|positive"):
        machine.trigger(**words)
    assert machine.snapshot().ready


@pytest.mark.parametrize("name", ["deadline_ms", "hang_after_s", "stall_after_s", "load_after_s"])
def test_times_must_be_positive(name) -> None:
    with pytest.raises(ValueError, match=name):
        StationOptions(**{name: 0.0})


def test_the_snapshot_is_the_same_object_while_nothing_changes() -> None:
    machine, clock = ready_machine()
    shown = machine.snapshot()
    clock.pass_ms(99)
    assert machine.snapshot() is shown
    clock.pass_ms(1)
    assert machine.snapshot() is not shown


def test_sequence_words_go_round_without_zero() -> None:
    assert [word_from_sequence(n) for n in (0, 1, 65535, 65536, 131071)] == [0, 1, 65535, 1, 1]


def test_counters_of_times() -> None:
    machine, _ = ready_machine()
    for took in (900, 300, 600):
        machine.trigger()
        answer(machine, machine.snapshot().seq, process_us=took)
        machine.acknowledge()
    counters = machine.snapshot().counters
    assert (counters.process_us_min, counters.process_us_mean, counters.process_us_max) == (
        300,
        600,
        900,
    )


def test_the_worker_is_told_what_was_decided_about_the_part_that_it_answered() -> None:
    machine, clock = ready_machine(picture_of=lambda result: f"picture of {result.seq}")
    machine.trigger()
    answer(machine, 1)
    (_, kept) = machine.orders
    assert isinstance(kept, Decided)
    assert kept.result == machine.snapshot().result == machine.results[0]
    assert kept.result.picture == "picture of 1"
    machine.acknowledge()
    machine.orders.clear()
    machine.trigger()
    clock.pass_ms(DEADLINE_MS)
    shown = machine.snapshot()
    assert shown.result is not None and shown.result.error is ErrorCode.DEADLINE
    assert [type(order) for order in machine.orders] == [Job]  # it has no picture yet
    answer(machine, 2)
    assert machine.orders[1:] == [Decided(shown.result)]


def test_a_bundle_that_took_over_between_two_parts_is_shown() -> None:
    machine, _ = ready_machine()
    loaded = machine.snapshot().recipe_id
    machine.worker_swapped(Recipe(loaded, model_hash="new", threshold=0.75))
    shown = machine.snapshot()
    assert (shown.model_hash, shown.threshold, shown.phase) == ("new", 0.75, Phase.READY)
    machine.worker_swapped(Recipe(loaded + 1, model_hash="of another recipe"))
    assert machine.snapshot().model_hash == "new"
