"""The handshake as a pure state machine: no I/O, no thread, no lock, and somebody else's clock.

Each event is a method. It first catches up with the clock, then acts, then settles in the phase
that follows. Orders to the worker and results are left in `orders` and `results`, where the owner
of the machine takes them from.

    OFFLINE ─(worker idle)→ READY ─(trigger)→ BUSY ─(answer | deadline)→ RESULT
       ↑                      ↑                                            │ (acknowledge)
       └──(sent offline)──────┴──(acknowledge low and worker idle)── RELEASE
    any ─(worker lost or hung)→ FAULT ─(cleared)→ OFFLINE | RELEASE | READY
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from edge.plc.station.edge_detection import LevelTracker
from edge.plc.station.heartbeat import WorkerClock
from edge.plc.station.machine_state import (
    CommandStatus,
    LatchedFault,
    MachineState,
    result_from_answer,
    result_without_answer,
    snapshot_from_state,
)
from edge.plc.station.messages import (
    NS_PER_MS,
    Answer,
    Change,
    Clock,
    Decided,
    Job,
    Order,
    Recipe,
    Replace,
    StationOptions,
)
from edge.plc.station.snapshot import (
    CommandCode,
    CommandState,
    Control,
    ErrorCode,
    InspectionResult,
    Phase,
    Snapshot,
    State,
)

TRIGGER_IDS = 0xFFFF
PART_IDS = 0xFFFFFFFF
UNDECIDED = (Phase.BUSY, Phase.RESULT)


@dataclass(slots=True)
class StationMachine:
    """One station.

    Attributes:
        boot_id: 1 to 65535, drawn anew for each process.
        options: name, deadline, limits.
        clock: where time comes from.
        orders: for the worker; the owner takes them out, in order.
        results: for listeners; the owner takes them out, in order.
        revision: grows whenever more than the heartbeat changes.
    """

    boot_id: int
    options: StationOptions = field(default_factory=StationOptions)
    clock: Clock = time
    orders: list[Order] = field(default_factory=list)
    results: list[InspectionResult] = field(default_factory=list)
    revision: int = 0
    _state: MachineState = field(init=False)
    _levels: LevelTracker = field(default_factory=LevelTracker)
    _worker: WorkerClock = field(init=False)
    _shown: Snapshot | None = None

    def __post_init__(self) -> None:
        """Begin offline, without a worker."""
        self._state = MachineState(self.options.name, self.boot_id)
        self._worker = WorkerClock(self.options, self.clock.monotonic_ns())

    # What bridges ask.

    def snapshot(self) -> Snapshot:
        """Everything there is to show; the same object while nothing changes."""
        self.catch_up()
        return self.show()

    def show(self) -> Snapshot:
        """What there is to show since the last event; see `snapshot`."""
        if self._shown is None:
            self._shown = snapshot_from_state(self._state, levels=self._levels, worker=self._worker)
        return self._shown

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        """Take a PLC's levels; see `Port.control`."""
        now = self.catch_up()
        edges = self._levels.update(control, source=source)
        self._shown = None  # it shows the PLC's heartbeat too
        if edges.changed:
            self._note_change()
        if edges.clear_error:
            self._clear_fault()
        if edges.acknowledge and self._state.phase is Phase.RESULT:
            self._drop_result()
        self._settle()
        if edges.execute:
            self._run_command(control.command, control.argument)
            self._settle()
        elif edges.execute_fell and self._state.command.state is not CommandState.EXECUTING:
            self._state.command = CommandStatus()
        if edges.trigger:
            if control.enable and self._accept(control.trigger_id, control.part_id, None, now):
                self._levels.trigger_source = source
            else:
                self._count_miss()
        return self.show()

    def trigger(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> int | None:
        """Start an inspection; see `Port.trigger`."""
        now = self.catch_up()
        if not self._accept(trigger_id, part_id, deadline_ms, now):
            self._count_miss()
            return None
        return self._state.seq

    def acknowledge(self, seq: int | None = None) -> bool:
        """Acknowledge and clear the result; see `Port.acknowledge`."""
        self.catch_up()
        if self._state.phase is not Phase.RESULT or seq not in (None, self._state.seq):
            return False
        self._drop_result()
        self._settle()
        return True

    def reset(self) -> None:
        """Clear a fault and what is latched."""
        self.catch_up()
        self._clear_fault()
        self._settle()

    def recipe(self, recipe_id: int) -> bool:
        """Begin to change the recipe; False if that is not possible."""
        self.catch_up()
        begun = self._run_command(CommandCode.RECIPE, recipe_id)
        self._settle()
        return begun

    # What the worker and its owner report.

    def worker_ready(self, recipe: Recipe) -> None:
        """A worker is loaded, warm and idle."""
        self.catch_up()
        if self._worker.working:
            reason = "the worker started again in the middle of its work"
            self._latch_fault(ErrorCode.WORKER_LOST, reason)
        self._state.recipe = recipe
        self._state.job = None
        self._state.replacing = False
        self._worker.begin_presence()
        if not self.options.latch:
            self._clear_fault()
        self._note_change()
        self._settle()

    def worker_answer(self, answer: Answer) -> None:
        """The worker has finished its job, in time or late, and is idle."""
        self.catch_up()
        job = self._state.job
        if job is None or job.seq != answer.seq:
            return  # of a worker that has been replaced
        self._worker.end_work()
        self._state.job = None
        self._state.replacing = False
        self._note_change()
        self._state.count_time(answer.process_us)
        if self._state.phase is Phase.BUSY:
            self._let_keep(self._decide(result_from_answer(self._state, job, answer, self.clock)))
        else:
            self._let_keep(self._state.overdue)
            self._state.overrun = True
            self._state.counters = self._state.counters.count("late")
        self._settle()

    def worker_changed(self, recipe: Recipe, error: ErrorCode, reason: str) -> None:
        """The worker has finished a change of recipe and has `recipe` now, a new one or the old."""
        self.catch_up()
        if not self._worker.loading:
            return
        self._state.recipe = recipe
        self._worker.end_work()
        self._state.replacing = False
        if self._state.command.state is CommandState.EXECUTING:
            done = CommandState.FAILED if error else CommandState.COMPLETED
            self._state.command = CommandStatus(done, error, reason)
        self._note_change()
        self._settle()

    def worker_swapped(self, recipe: Recipe) -> None:
        """The bundle of the recipe was made anew, and has taken over."""
        if recipe.recipe_id == self._state.recipe.recipe_id:
            self._state.recipe = recipe
            self._note_change()

    def worker_lost(self, code: ErrorCode, reason: str) -> None:
        """The worker is gone."""
        self.catch_up()
        self._worker.end_presence()
        self._latch_fault(code, reason)
        self._state.job = None
        self._state.replacing = False
        self._settle()

    def worker_compiles(self) -> None:
        """The worker still compiles a plan: what it loads may take as long again."""
        self._worker.keep_loading(self.clock.monotonic_ns())

    def worker_restarted(self) -> None:
        """Another worker is being started."""
        self._state.counters = self._state.counters.count("restarts")
        self._note_change()

    def catch_up(self) -> int:
        """Catch up with the clock: heartbeat, deadline, limits of the worker.

        Returns:
            The time now, monotonic, in ns.
        """
        now = self.clock.monotonic_ns()
        if self._worker.advance(now):
            self._shown = None
        job = self._state.undecided_job
        if job is not None and now >= job.deadline_ns:
            self._state.counters = self._state.counters.count("timeouts")
            passed_ms = (job.deadline_ns - job.triggered_ns) / NS_PER_MS
            late = (ErrorCode.DEADLINE, f"no answer within {passed_ms:g} ms")
            self._state.overdue = self._decide(self._result_without(job, State.FAILED, late))
        hangs_at = self._worker.hangs_at_ns
        if hangs_at is not None and now >= hangs_at and not self._state.replacing:
            self._state.replacing = True
            reason = self._worker.hang_reason()
            self._latch_fault(ErrorCode.WORKER_HUNG, reason)
            self.orders.append(Replace(reason))
            self._settle()
        return now

    def due_ns(self) -> int | None:
        """Monotonic time at which `catch_up` has something to do; None if nothing is awaited."""
        due = [] if self._state.replacing else [self._worker.hangs_at_ns]
        job = self._state.undecided_job
        if job is not None:
            due.append(job.deadline_ns)
        return min((moment for moment in due if moment is not None), default=None)

    def close(self) -> None:
        """Go offline for good."""
        self.catch_up()
        self._abort(ErrorCode.ABORTED, "the station was closed")
        self._state.result = None
        self._state.closed = True
        self._state.phase = Phase.OFFLINE
        self._note_change()

    # Internals.

    def _accept(
        self, trigger_id: int, part_id: int, deadline_ms: float | None, now_ns: int
    ) -> bool:
        """Accept a trigger, if the station is ready."""
        deadline = self.options.deadline_ms if deadline_ms is None else deadline_ms
        if not 0 <= trigger_id <= TRIGGER_IDS or not 0 <= part_id <= PART_IDS:
            raise ValueError(f"trigger id {trigger_id}, part id {part_id}: out of range")
        if not 0 < deadline < 1e9:
            raise ValueError(f"deadline {deadline} ms: must be positive")
        if self._state.phase is not Phase.READY:
            return False
        self._state.seq += 1
        self._state.triggered_at_ns = self.clock.time_ns()
        deadline_ns = now_ns + int(deadline * NS_PER_MS)
        self._state.job = Job(self._state.seq, trigger_id, part_id, now_ns, deadline_ns)
        self._worker.begin_work(now_ns)
        self._state.missed = self._state.overrun = False
        self._state.counters = self._state.counters.count("triggers")
        self.orders.append(self._state.job)
        self._enter(Phase.BUSY)
        return True

    def _decide(self, result: InspectionResult) -> InspectionResult:
        """Show a result, with the address of its picture; exactly one for each trigger."""
        if self.options.picture_of is not None:
            result = replace(result, picture=self.options.picture_of(result))
        self._state.result = result
        self._state.completed = not self._state.completed
        self._hand_out(result)
        self._enter(Phase.RESULT)
        return result

    def _let_keep(self, result: InspectionResult | None) -> None:
        """Tell the worker what was decided about the part that it has answered."""
        self._state.overdue = None
        if result is not None and self.options.picture_of is not None:
            self.orders.append(Decided(result))

    def _hand_out(self, result: InspectionResult) -> None:
        self._state.counters = self._state.counters.count_result(result)
        self.results.append(result)

    def _abort(self, code: ErrorCode, reason: str) -> None:
        """End a pending inspection without showing a result."""
        job = self._state.undecided_job
        if job is not None:
            self._hand_out(self._result_without(job, State.ABORTED, (code, reason)))

    def _drop_result(self) -> None:
        self._state.result = None
        self._enter(Phase.RELEASE)

    def _count_miss(self) -> None:
        self._state.missed = True
        self._state.counters = self._state.counters.count("missed")
        self._note_change()

    def _latch_fault(self, code: ErrorCode, reason: str) -> None:
        """Go to FAULT; the first cause of a fault stays."""
        if self._state.fault.code or self._state.closed:
            return
        self._state.fault = LatchedFault(code, reason)
        self._state.counters = self._state.counters.count("faults")
        self._abort(code, reason)
        self._state.result = None
        self._levels.trigger_source = None
        if self._state.command.state is CommandState.EXECUTING:
            self._state.command = CommandStatus(CommandState.FAILED, code, reason)
        self._enter(Phase.FAULT)

    def _clear_fault(self) -> None:
        self._state.fault = LatchedFault()
        self._state.missed = self._state.overrun = False
        if self._state.phase is Phase.FAULT:
            self._enter(Phase.OFFLINE)
        self._note_change()

    def _run_command(self, code: int, argument: int) -> bool:
        """Do what the command word asks; False if refused. A command that runs continues."""
        if self._state.command.state is CommandState.EXECUTING:
            return False
        self._note_change()
        if code == CommandCode.ZERO_COUNTERS:
            self._state.zero_counters()
            self._state.command = CommandStatus(CommandState.COMPLETED)
        elif code != CommandCode.RECIPE:
            self._refuse(ErrorCode.UNKNOWN_COMMAND, f"command {code}: unknown")
        elif argument not in self.options.recipes:
            self._refuse(ErrorCode.UNKNOWN_RECIPE, f"recipe {argument}: not in edge.toml")
        elif not self._can_load():
            self._refuse(ErrorCode.NOT_NOW, f"recipe {argument}: not while {self._state.phase}")
        else:
            self._state.command = CommandStatus(CommandState.EXECUTING)
            self._worker.begin_work(self.clock.monotonic_ns(), loading=True)
            self.orders.append(Change(argument))
        return self._state.command.state is not CommandState.FAILED

    def _refuse(self, code: ErrorCode, reason: str) -> None:
        self._state.command = CommandStatus(CommandState.FAILED, code, reason)

    def _can_load(self) -> bool:
        idle = self._worker.present and not self._worker.working
        if not idle or self._state.replacing or self._state.closed:
            return False
        return self._state.phase in (Phase.READY, Phase.OFFLINE)

    def _settle(self) -> None:
        """Enter the phase that follows without any further event."""
        if self._state.closed or self._state.fault.code or self._state.phase in UNDECIDED:
            return
        if not self._worker.present or self._state.replacing or self._levels.offline:
            self._enter(Phase.OFFLINE)
        elif self._state.command.state is CommandState.EXECUTING:
            self._enter(Phase.COMMAND)
        elif self._worker.working or self._levels.acknowledge:
            self._enter(Phase.RELEASE)
        else:
            self._enter(Phase.READY)

    def _enter(self, phase: Phase) -> None:
        if phase is not self._state.phase:
            self._state.phase = phase
            self._note_change()

    def _note_change(self) -> None:
        self._shown = None
        self.revision += 1

    def _result_without(self, job: Job, end: State, why: tuple[ErrorCode, str]) -> InspectionResult:
        return result_without_answer(self._state, job, self.clock, end=end, why=why)
