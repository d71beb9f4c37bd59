"""The state machine against a model, with hypothesis."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hand_clock import (
    DEADLINE_MS,
    HANG_MS,
    LOAD_MS,
    MS,
    RECIPE,
    answer,
    machine_of,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.plc.station.messages import Change, Job, Replace
from edge.plc.station.snapshot import (
    CommandState,
    Control,
    Decision,
    ErrorCode,
    InspectionResult,
    OfflineReason,
    Phase,
    State,
)


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
        self.machine.catch_up()
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
        self.machine.catch_up()
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
