"""The station's state machine against a model that says what may be shown, with its own clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.station import (
    Answer,
    Change,
    CommandState,
    Control,
    Decision,
    ErrorCode,
    Evaluation,
    InspectionResult,
    Job,
    OfflineReason,
    Phase,
    Recipe,
    State,
    StationOptions,
    word_from_sequence,
)
from edge.station.jobs import Replace
from edge.station.machine import Machine

MS = 1_000_000
DEADLINE_MS, HANG_MS, STALL_MS, LOAD_MS = 50, 400, 200, 900
OPTIONS = StationOptions(
    name="line3",
    deadline_ms=DEADLINE_MS,
    stall_after_s=STALL_MS / 1e3,
    hang_after_s=HANG_MS / 1e3,
    load_after_s=LOAD_MS / 1e3,
    recipes=frozenset({1, 2}),
)
RECIPE = Recipe(1, model_hash="ab", threshold=0.5)


class HandClock:
    """Time goes on when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns + 1_700_000_000_000_000_000

    def pass_ms(self, ms: float) -> None:
        self.now_ns += int(ms * MS)


def machine_of(**changes: object) -> tuple[Machine, HandClock]:
    clock = HandClock()
    return Machine(7, replace(OPTIONS, **changes), clock), clock


def ready_machine(**changes: object) -> tuple[Machine, HandClock]:
    machine, clock = machine_of(**changes)
    machine.worker_ready(RECIPE)
    assert machine.snapshot().ready
    return machine, clock


def answer(machine: Machine, seq: int, score: float | None = 0.1, **words: object) -> None:
    evaluation = Evaluation.OK if (score or 0) < 0.5 else Evaluation.NOT_OK
    machine.worker_answer(
        Answer(seq, words.pop("evaluation", evaluation), score=score, **words)  # type: ignore[arg-type]
    )


LOW = Control(enable=True)
UP = Control(enable=True, trigger=True, trigger_id=3, part_id=70_000)
ACK = Control(enable=True, acknowledge=True)


@dataclass
class Pending:
    """A part that was accepted, as the model sees it."""

    seq: int
    part_id: int
    deadline_ns: int


class AgainstModel(RuleBasedStateMachine):
    """Levels, calls, answers in and out of time, losses; the model knows what must be shown.

    The model is small on purpose: which part is pending, what the worker has, what was decided.
    """

    def __init__(self) -> None:
        super().__init__()
        self.machine, self.clock = machine_of()
        self.lines: Control | None = None  # what the PLC holds
        self.pending: Pending | None = None  # accepted, not yet decided
        self.at_work: int | None = None  # seq that the worker has
        self.loading = False
        self.since_ns = 0  # when the worker began
        self.present = self.fault = self.replacing = False
        self.shown: InspectionResult | None = None  # must be valid
        self.seq = self.missed = self.timeouts = self.late = self.decided = 0
        self.parts: dict[int, int] = {}
        self.results: list[InspectionResult] = []
        self.heartbeat = 0

    # What the model does when time has passed.

    def elapse(self) -> None:
        now = self.clock.now_ns
        if self.pending is not None and now >= self.pending.deadline_ns:
            self.timeouts += 1
            self.decided += 1
            self.expect(self.pending, ErrorCode.DEADLINE)
        busy = self.at_work is not None or self.loading
        limit = LOAD_MS if self.loading else HANG_MS
        if busy and not self.replacing and now - self.since_ns >= limit * MS:
            self.replacing = True
            self.fall()

    def expect(self, part: Pending, error: ErrorCode, *, valid: bool = True) -> None:
        """The machine has decided a part, once, and it is this one."""
        self.machine.tick()
        self.results += self.machine.results
        self.machine.results.clear()
        last = self.results[-1]
        assert (last.seq, last.part_id, last.error) == (part.seq, part.part_id, error)
        self.pending = None
        self.shown = last if valid else None

    def fall(self) -> None:
        if self.fault:
            return
        self.fault = True
        self.shown = None
        if self.pending is not None:
            self.decided += 1
            self.pending = None

    @property
    def free(self) -> bool:
        """Whether a trigger must be accepted."""
        lines = self.lines or Control()
        return (
            self.present
            and not self.replacing
            and not self.fault
            and self.pending is None
            and self.shown is None
            and self.at_work is None
            and not self.loading
            and not lines.offline
            and not lines.acknowledge
        )

    def accepted(self, part_id: int, deadline_ms: float = DEADLINE_MS) -> None:
        self.seq += 1
        self.at_work = self.seq
        self.since_ns = self.clock.now_ns
        self.parts[self.seq] = part_id
        self.pending = Pending(self.seq, part_id, self.clock.now_ns + int(deadline_ms * MS))
        assert isinstance(self.machine.orders[-1], Job)
        assert self.machine.orders[-1].seq == self.seq

    # What can happen.

    @rule(ms=st.sampled_from([1, 7, 49, 50, 60, 199, 401, 950]))
    def time_passes(self, ms: int) -> None:
        self.clock.pass_ms(ms)
        self.machine.tick()
        self.elapse()

    @rule(
        enable=st.booleans(),
        trigger=st.booleans(),
        acknowledge=st.booleans(),
        clear=st.booleans(),
        offline=st.sampled_from([False, False, False, True]),
        part_id=st.integers(0, 2**32 - 1),
    )
    def plc_writes(self, *, enable, trigger, acknowledge, clear, offline, part_id) -> None:
        before = self.lines
        self.lines = Control(
            enable=enable,
            trigger=trigger,
            acknowledge=acknowledge,
            clear_error=clear,
            offline=offline,
            part_id=part_id,
        )
        if before is not None:
            if clear and not before.clear_error:
                self.fault = False
            if acknowledge and not before.acknowledge:
                self.shown = None if self.pending is None else self.shown
        accepted = before is not None and trigger and not before.trigger and enable and self.free
        missed = before is not None and trigger and not before.trigger and not accepted
        self.machine.control(self.lines)
        if accepted:
            self.accepted(part_id)
        self.missed += missed

    @rule(part_id=st.integers(0, 2**32 - 1), deadline_ms=st.sampled_from([None, 5, 300]))
    def peer_triggers(self, part_id: int, deadline_ms: float | None) -> None:
        free = self.free
        seq = self.machine.trigger(part_id=part_id, deadline_ms=deadline_ms)
        assert (seq is not None) == free
        if free:
            self.accepted(part_id, DEADLINE_MS if deadline_ms is None else deadline_ms)
        else:
            self.missed += 1

    @rule(right=st.booleans())
    def peer_acknowledges(self, *, right: bool) -> None:
        done = self.machine.acknowledge(self.seq if right else self.seq + 1)
        assert done == (right and self.shown is not None)
        if done:
            self.shown = None

    @precondition(lambda self: self.at_work is not None)
    @rule(score=st.sampled_from([0.1, 0.9, math.nan, None]))
    def worker_answers(self, score: float | None) -> None:
        seq, self.at_work, self.replacing = self.at_work, None, False
        assert seq is not None
        answer(self.machine, seq, score)
        if self.pending is not None:
            finite = score is not None and math.isfinite(score)
            self.decided += 1
            self.expect(self.pending, ErrorCode.NONE if finite else ErrorCode.ENGINE)
            assert self.shown is not None
            assert (self.shown.decision is Decision.PASS) == (score == 0.1)
        else:
            self.late += 1

    @rule()
    def an_answer_that_nobody_asked_for(self) -> None:
        answer(self.machine, self.seq + 5)

    @rule()
    def worker_comes(self) -> None:
        if self.at_work is not None or self.loading:
            self.fall()
        self.machine.worker_ready(RECIPE)
        self.present, self.replacing = True, False
        self.at_work, self.loading = None, False

    @rule(code=st.sampled_from([ErrorCode.WORKER_LOST, ErrorCode.WORKER_START]))
    def worker_goes(self, code: ErrorCode) -> None:
        self.machine.worker_lost(code, "gone")
        self.fall()
        self.present = self.replacing = self.loading = False
        self.at_work = None

    @rule(recipe_id=st.sampled_from([1, 2, 9]))
    def peer_changes_recipe(self, recipe_id: int) -> None:
        idle = self.free or (
            # Sent offline is a good moment too.
            self.present
            and not (self.fault or self.replacing or self.loading)
            and self.at_work is None
            and self.pending is None
            and self.shown is None
            and (self.lines or Control()).offline
        )
        begun = self.machine.recipe(recipe_id)
        assert begun == (idle and recipe_id != 9)
        if begun:
            assert self.machine.orders[-1] == Change(recipe_id)
            self.loading, self.since_ns = True, self.clock.now_ns

    @precondition(lambda self: self.loading)
    @rule(refused=st.booleans())
    def worker_has_loaded(self, *, refused: bool) -> None:
        code = ErrorCode.RECIPE_REFUSED if refused else ErrorCode.NONE
        self.machine.worker_changed(RECIPE, code, "")
        self.loading = self.replacing = False

    # What must hold at any moment.

    @invariant()
    def what_is_shown_is_what_the_model_expects(self) -> None:
        shown = self.machine.snapshot()
        self.elapse()
        assert shown.ready == self.free
        assert shown.fault == self.fault
        assert shown.valid == (self.shown is not None)
        assert shown.result is self.shown, "never a stale result"
        assert shown.busy == (self.at_work is not None or self.loading_shown(shown))
        assert shown.seq == self.seq
        assert (shown.phase is Phase.BUSY) == (self.pending is not None)
        assert shown.online == (shown.phase not in (Phase.OFFLINE, Phase.FAULT))
        assert (shown.offline_reason is OfflineReason.ONLINE) == shown.online
        if shown.fault:
            assert shown.decision is Decision.FAULT
            assert shown.error is not ErrorCode.NONE

    def loading_shown(self, shown) -> bool:
        return shown.command is CommandState.EXECUTING

    @invariant()
    def every_part_is_decided_once_and_nothing_is_lost(self) -> None:
        self.results += self.machine.results
        self.machine.results.clear()
        sequences = [result.seq for result in self.results]
        assert sequences == sorted(set(sequences)), "in order, and none twice"
        assert len(self.results) == self.decided == self.seq - (self.pending is not None)
        assert all(self.parts[result.seq] == result.part_id for result in self.results)
        for result in self.results[-2:]:
            passed = result.decision is Decision.PASS
            assert passed == (result.state is State.COMPLETED and result.score == 0.1)

    @invariant()
    def counters_are_the_model_s(self) -> None:
        counters = self.machine.snapshot().counters
        assert (counters.triggers, counters.missed) == (self.seq, self.missed)
        assert (counters.timeouts, counters.late) == (self.timeouts, self.late)
        assert counters.passed + counters.rejected == self.decided

    @invariant()
    def the_worker_never_gets_two_things_at_once(self) -> None:
        orders = [order for order in self.machine.orders if not isinstance(order, Replace)]
        self.machine.orders.clear()
        assert len(orders) <= 1


AgainstModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
TestAgainstModel = AgainstModel.TestCase


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
    assert shown.result.evaluation is Evaluation.UNDEFINED
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
        machine.tick()
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
        ({"evaluation": Evaluation.UNDEFINED}, ErrorCode.ENGINE),
        ({"error": ErrorCode.NO_PICTURE, "reason": "no frame"}, ErrorCode.NO_PICTURE),
    ],
)
def test_what_is_not_sure_is_rejected(words, error) -> None:
    machine, _ = ready_machine()
    machine.trigger()
    answer(machine, 1, **words)
    result = machine.results[0]
    assert (result.error, result.evaluation) == (error, Evaluation.NOT_DECIDABLE)
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
