"""What a station's machine remembers; results and snapshots are made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from edge.plc.station.edge_detection import LevelTracker
from edge.plc.station.heartbeat import WorkerClock
from edge.plc.station.messages import Answer, Clock, Job, Recipe
from edge.plc.station.snapshot import (
    CommandState,
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


@dataclass(frozen=True, slots=True)
class LatchedFault:
    """A fault that stays until it is cleared."""

    code: ErrorCode = ErrorCode.NONE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """How the latest command goes."""

    state: CommandState = CommandState.IDLE
    error: ErrorCode = ErrorCode.NONE
    reason: str = ""


@dataclass(slots=True)
class MachineState:
    """The state of a machine.

    Attributes:
        station: its name.
        boot_id: 1 to 65535, drawn anew for each process.
        phase: where the handshake is.
        recipe: what the worker has loaded.
        job: what the worker does, perhaps long after its deadline; None while it is idle.
        seq: of the latest accepted trigger.
        triggered_at_ns: Unix time of that trigger, UTC.
        result: what is shown until it is acknowledged.
        completed: toggles with each result.
        missed: a trigger was missed since the last accepted one.
        overrun: a late answer was thrown away since the last accepted trigger.
        fault: the fault that is latched.
        command: the latest command.
        replacing: the worker is to be replaced; nothing goes on until it is back or gone.
        closed: offline for good.
        counters: since the start or since they were zeroed.
        inspections: how many of them are in the mean of the counters.
        inspected_us: microseconds that these took together.
        overdue: what was decided about the job at its deadline.
    """

    station: str
    boot_id: int
    phase: Phase = Phase.OFFLINE
    recipe: Recipe = field(default_factory=lambda: Recipe(0))
    job: Job | None = None
    seq: int = 0
    triggered_at_ns: int = 0
    result: InspectionResult | None = None
    completed: bool = False
    missed: bool = False
    overrun: bool = False
    fault: LatchedFault = field(default_factory=LatchedFault)
    command: CommandStatus = field(default_factory=CommandStatus)
    replacing: bool = False
    closed: bool = False
    counters: Counters = field(default_factory=Counters)
    inspections: int = 0
    inspected_us: int = 0
    overdue: InspectionResult | None = None

    @property
    def undecided_job(self) -> Job | None:
        """The part that is inspected and whose deadline has not passed."""
        return self.job if self.phase is Phase.BUSY else None

    def count_time(self, process_us: int) -> None:
        """Count the time of an inspection, in time or late."""
        before, first = self.counters, self.inspections == 0
        self.inspections += 1
        self.inspected_us += process_us
        self.counters = replace(
            before,
            process_us_min=process_us if first else min(before.process_us_min, process_us),
            process_us_mean=self.inspected_us // self.inspections,
            process_us_max=max(before.process_us_max, process_us),
        )

    def zero_counters(self) -> None:
        """Begin to count anew."""
        self.counters = Counters()
        self.inspections = self.inspected_us = 0


def result_from_answer(
    state: MachineState, job: Job, answer: Answer, clock: Clock
) -> InspectionResult:
    """Make the result of a part.

    OK and NOT_OK need a finite score and no error; whatever else comes is NOT_DECIDABLE.

    Args:
        state: of the machine.
        job: what was asked.
        answer: what the worker found out.
        clock: says when that is.
    """
    error, reason = answer.error, answer.reason
    finite = answer.score is not None and math.isfinite(answer.score)
    decided = answer.evaluation in (ResultEvaluation.OK, ResultEvaluation.NOT_OK)
    if not error and not (finite and decided):
        error, reason = ErrorCode.ENGINE, reason or "an answer without a finite score"
    return InspectionResult(
        station=state.station,
        boot_id=state.boot_id,
        seq=job.seq,
        trigger_id=job.trigger_id,
        part_id=job.part_id,
        recipe_id=state.recipe.recipe_id,
        model_hash=state.recipe.model_hash,
        evaluation=ResultEvaluation.NOT_DECIDABLE if error else answer.evaluation,
        state=State.FAILED if error else State.COMPLETED,
        error=error,
        reason=reason,
        score=answer.score if finite else None,
        threshold=state.recipe.threshold,
        defects=answer.defects,
        worst=answer.worst if answer.defects else DefectBox(),
        triggered_at_ns=state.triggered_at_ns,
        acquired_at_ns=answer.acquired_at_ns,
        decided_at_ns=clock.time_ns(),
        acquire_us=answer.acquire_us,
        process_us=answer.process_us,
        latency_us=(clock.monotonic_ns() - job.triggered_ns) // 1000,
        simulated=state.recipe.simulated,
        drift=answer.drift,
        trouble=answer.trouble,
    )


def result_without_answer(
    state: MachineState, job: Job, clock: Clock, *, end: State, why: tuple[ErrorCode, str]
) -> InspectionResult:
    """The result of a part about which nothing is known: UNDEFINED, so REJECT."""
    nothing = Answer(job.seq, ResultEvaluation.UNDEFINED, *why)
    result = result_from_answer(state, job, nothing, clock)
    return replace(result, evaluation=ResultEvaluation.UNDEFINED, state=end)


def snapshot_from_state(
    state: MachineState, *, levels: LevelTracker, worker: WorkerClock
) -> Snapshot:
    """Everything that is shown of a moment."""
    error, reason = _most_urgent_error(state)
    executing = state.command.state is CommandState.EXECUTING
    return Snapshot(
        station=state.station,
        boot_id=state.boot_id,
        phase=state.phase,
        online=state.phase not in (Phase.OFFLINE, Phase.FAULT),
        offline_reason=_offline_reason(state, present=worker.present),
        ready=state.phase is Phase.READY,
        trigger_acknowledged=levels.trigger_source is not None,
        busy=state.job is not None or executing,
        valid=state.phase is Phase.RESULT,
        completed=state.completed,
        missed=state.missed,
        overrun=state.overrun,
        command=state.command.state,
        command_error=state.command.error,
        fault=state.phase is Phase.FAULT,
        error=error,
        reason=reason,
        heartbeat=worker.heartbeat,
        plc_heartbeat=levels.heartbeat,
        seq=state.seq,
        recipe_id=state.recipe.recipe_id,
        model_hash=state.recipe.model_hash,
        threshold=state.recipe.threshold,
        result=state.result,
        counters=state.counters,
    )


def _most_urgent_error(state: MachineState) -> tuple[ErrorCode, str]:
    """Of the fault, else of the result, else of the command; and in words."""
    if state.fault.code:
        return state.fault.code, state.fault.reason
    if state.result is not None and state.result.error:
        return state.result.error, state.result.reason
    return state.command.error, state.command.reason


def _offline_reason(state: MachineState, *, present: bool) -> OfflineReason:
    if state.closed:
        return OfflineReason.CLOSED
    if state.phase is Phase.FAULT:
        return OfflineReason.FAULT
    if state.phase is not Phase.OFFLINE:
        return OfflineReason.ONLINE
    ready = present and not state.replacing
    return OfflineReason.REQUESTED if ready else OfflineReason.STARTING
