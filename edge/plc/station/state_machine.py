"""The handshake as a pure state machine: no I/O, no thread, no lock, and somebody else's clock.

Whatever happens is a method. It first lets the time pass that has passed, then acts, then settles
in the phase that follows. What is to be done and told is left in `orders` and `results`, and
whoever owns the machine takes it from there.

    OFFLINE ─(worker idle)→ READY ─(trigger)→ BUSY ─(answer | deadline)→ RESULT
       ↑                      ↑                                            │ (acknowledge)
       └──(sent offline)──────┴──(acknowledge low and worker idle)── RELEASE
    any ─(worker lost or hung)→ FAULT ─(cleared)→ OFFLINE | RELEASE | READY
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.plc.station.edge_detection import Levels
from edge.plc.station.heartbeat import Liveness
from edge.plc.station.machine_state import Asked, Memory, Trouble, snapshot_from_memory
from edge.plc.station.messages import (
    NS_PER_MS,
    Answer,
    Change,
    Clock,
    Job,
    Order,
    Recipe,
    Replace,
    StationOptions,
    SystemClock,
)
from edge.plc.station.results import Draft, result_from_answer, result_without_answer
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
from edge.plc.station.tally import Tally

TRIGGER_IDS = 0xFFFF
PART_IDS = 0xFFFFFFFF
UNDECIDED = (Phase.BUSY, Phase.RESULT)


@dataclass(slots=True)
class Machine:
    """One station.

    Attributes:
        boot_id: 1 to 65535, drawn anew for each process.
        options: what it was told at birth.
        clock: where time comes from.
        orders: for the worker; the owner takes them out, in order.
        results: for listeners; the owner takes them out, in order.
        revision: grows whenever more than the heartbeat changes.
    """

    boot_id: int
    options: StationOptions = field(default_factory=StationOptions)
    clock: Clock = field(default_factory=SystemClock)
    orders: list[Order] = field(default_factory=list)
    results: list[InspectionResult] = field(default_factory=list)
    revision: int = 0
    tally: Tally = field(default_factory=Tally)
    _now: Memory = field(default_factory=Memory)
    _levels: Levels = field(default_factory=Levels)
    _live: Liveness = field(init=False)
    _shown: Snapshot | None = None

    def __post_init__(self) -> None:
        """Begin offline, without a worker."""
        self._live = Liveness(self.options, self.clock.monotonic_ns())

    # What bridges ask.

    def snapshot(self) -> Snapshot:
        """Everything there is to show; the same object while nothing changes."""
        self._begin()
        if self._shown is None:
            self._shown = self._show()
        return self._shown

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        """Take a PLC's levels; see `Port.control`."""
        self._begin()
        edges = self._levels.take(control, source=source)
        self._shown = None  # it shows the PLC's heartbeat too
        if edges.level:
            self._changed()
        if edges.clear_error:
            self._clear()
        if edges.acknowledge and self._now.phase is Phase.RESULT:
            self._take_away()
        self._settle()
        if edges.execute:
            self._command(control.command, control.argument)
        elif edges.execute_fell and self._now.asked.state is not CommandState.EXECUTING:
            self._now.asked = Asked()
        self._settle()
        if edges.trigger:
            if control.enable and self._start(control.trigger_id, control.part_id, None):
                self._levels.trigger_accepted(source)
            else:
                self._miss()
        return self.snapshot()

    def trigger(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> int | None:
        """Start an inspection; see `Port.trigger`."""
        self._begin()
        if not self._start(trigger_id, part_id, deadline_ms):
            self._miss()
            return None
        return self._now.seq

    def acknowledge(self, seq: int | None = None) -> bool:
        """Take the result away; see `Port.acknowledge`."""
        self._begin()
        if self._now.phase is not Phase.RESULT or seq not in (None, self._now.seq):
            return False
        self._take_away()
        self._settle()
        return True

    def reset(self) -> None:
        """Clear a fault and what is latched."""
        self._begin()
        self._clear()
        self._settle()

    def recipe(self, recipe_id: int) -> bool:
        """Begin to change the recipe; False if that is not possible."""
        self._begin()
        begun = self._command(CommandCode.RECIPE, recipe_id)
        self._settle()
        return begun

    # What the worker and its owner tell.

    def worker_ready(self, recipe: Recipe) -> None:
        """A worker is loaded, warm and idle."""
        self._begin()
        if self._live.working_since_ns is not None:
            self._fault(ErrorCode.WORKER_LOST, "the worker began anew in the middle of its work")
        self._now.recipe = recipe
        self._now.job = None
        self._now.replacing = False
        self._live.arrived()
        if not self.options.latch:
            self._clear()
        self._changed()
        self._settle()

    def worker_answer(self, answer: Answer) -> None:
        """The worker is through with its job, in time or late, and idle."""
        self._begin()
        job = self._now.job
        if job is None or job.seq != answer.seq:
            return  # of a worker that has been replaced
        self._live.idle()
        self._now.job = None
        self._now.replacing = False
        self._changed()
        self.tally.took(answer.process_us)
        if self._now.phase is Phase.BUSY:
            self._decide(result_from_answer(self._draft(job), answer))
        else:
            self._now.overrun = True
            self.tally.add(late=1)
        self._settle()

    def worker_changed(self, recipe: Recipe, error: ErrorCode, reason: str) -> None:
        """The worker is through with a change of recipe; it has `recipe` now, new or as before."""
        self._begin()
        if not self._live.loading:
            return
        self._now.recipe = recipe
        self._live.idle()
        self._now.replacing = False
        if self._now.asked.state is CommandState.EXECUTING:
            done = CommandState.FAILED if error else CommandState.COMPLETED
            self._now.asked = Asked(done, error, reason)
        self._changed()
        self._settle()

    def worker_lost(self, code: ErrorCode, reason: str) -> None:
        """The worker is gone."""
        self._begin()
        self._live.left()
        self._fault(code, reason)
        self._now.job = None
        self._now.replacing = False
        self._settle()

    def worker_restarted(self) -> None:
        """Another worker is being started."""
        self.tally.restarted()
        self._changed()

    def tick(self) -> None:
        """Let the time pass that has passed."""
        self._begin()

    def due_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do; None if nothing is awaited."""
        due = [] if self._now.replacing else [self._live.due_ns()]
        if self._now.phase is Phase.BUSY and self._now.job is not None:
            due.append(self._now.job.deadline_ns)
        return min((moment for moment in due if moment is not None), default=None)

    def close(self) -> None:
        """Go offline for good."""
        self._begin()
        self._abort(ErrorCode.ABORTED, "the station was closed")
        self._now.result = None
        self._now.closed = True
        self._now.phase = Phase.OFFLINE
        self._changed()

    # What happens within.

    def _begin(self) -> None:
        """Let the time pass: heartbeat, deadline, life of the worker."""
        now = self.clock.monotonic_ns()
        if self._live.advance(now):
            self._shown = None
        job = self._now.job
        if self._now.phase is Phase.BUSY and job is not None and now >= job.deadline_ns:
            passed = (job.deadline_ns - job.triggered_ns) / NS_PER_MS
            self.tally.add(timeouts=1)
            reason = f"no answer within {passed:g} ms"
            draft = self._draft(job)
            self._decide(
                result_without_answer(draft, State.FAILED, ErrorCode.DEADLINE, reason=reason)
            )
        trouble = "" if self._now.replacing else self._live.trouble(now)
        if trouble:
            self._now.replacing = True
            self._fault(ErrorCode.WORKER_HUNG, trouble)
            self.orders.append(Replace(trouble))
            self._settle()

    def _start(self, trigger_id: int, part_id: int, deadline_ms: float | None) -> bool:
        """Accept a trigger, if the station is ready."""
        deadline = self.options.deadline_ms if deadline_ms is None else deadline_ms
        if not 0 <= trigger_id <= TRIGGER_IDS or not 0 <= part_id <= PART_IDS:
            raise ValueError(f"trigger id {trigger_id}, part id {part_id}: out of range")
        if not 0 < deadline < 1e9:
            raise ValueError(f"deadline {deadline} ms: must be positive")
        if self._now.phase is not Phase.READY:
            return False
        now = self.clock.monotonic_ns()
        self._now.seq += 1
        self._now.triggered_at_ns = self.clock.time_ns()
        self._now.job = Job(
            self._now.seq, trigger_id, part_id, now, now + int(deadline * NS_PER_MS)
        )
        self._live.works(now)
        self._now.missed = self._now.overrun = False
        self.tally.add(triggers=1)
        self.orders.append(self._now.job)
        self._go(Phase.BUSY)
        return True

    def _decide(self, result: InspectionResult) -> None:
        """Show a result; exactly one for each accepted trigger."""
        self._now.result = result
        self._now.completed = not self._now.completed
        self.tally.decided(result)
        self.results.append(result)
        self._go(Phase.RESULT)

    def _abort(self, code: ErrorCode, reason: str) -> None:
        """End a pending inspection without showing a result."""
        if self._now.phase is Phase.BUSY and self._now.job is not None:
            draft = self._draft(self._now.job)
            result = result_without_answer(draft, State.ABORTED, code, reason=reason)
            self.tally.decided(result)
            self.results.append(result)

    def _take_away(self) -> None:
        self._now.result = None
        self._go(Phase.RELEASE)

    def _miss(self) -> None:
        self._now.missed = True
        self.tally.add(missed=1)
        self._changed()

    def _fault(self, code: ErrorCode, reason: str) -> None:
        """Go to FAULT; the first cause of a fault stays."""
        if self._now.trouble.code or self._now.closed:
            return
        self._now.trouble = Trouble(code, reason)
        self.tally.add(faults=1)
        self._abort(code, reason)
        self._now.result = None
        self._levels.forget_trigger()
        if self._now.asked.state is CommandState.EXECUTING:
            self._now.asked = Asked(CommandState.FAILED, code, reason)
        self._go(Phase.FAULT)

    def _clear(self) -> None:
        self._now.trouble = Trouble()
        self._now.missed = self._now.overrun = False
        if self._now.phase is Phase.FAULT:
            self._go(Phase.OFFLINE)
        self._changed()

    def _command(self, code: int, argument: int) -> bool:
        """Do what the command word asks; False if refused. A command that runs goes on."""
        if self._now.asked.state is CommandState.EXECUTING:
            return False
        self._changed()
        if code == CommandCode.ZERO_COUNTERS:
            self.tally.zero()
            self._now.asked = Asked(CommandState.COMPLETED)
        elif code != CommandCode.RECIPE:
            self._refuse(ErrorCode.UNKNOWN_COMMAND, f"command {code}: unknown")
        elif argument not in self.options.recipes:
            self._refuse(ErrorCode.UNKNOWN_RECIPE, f"recipe {argument}: not in edge.toml")
        elif not self._may_load():
            self._refuse(ErrorCode.NOT_NOW, f"recipe {argument}: not while {self._now.phase}")
        else:
            self._now.asked = Asked(CommandState.EXECUTING)
            self._live.works(self.clock.monotonic_ns(), loading=True)
            self.orders.append(Change(argument))
        return self._now.asked.state is not CommandState.FAILED

    def _refuse(self, code: ErrorCode, reason: str) -> None:
        self._now.asked = Asked(CommandState.FAILED, code, reason)

    def _may_load(self) -> bool:
        idle = self._live.present and self._live.working_since_ns is None
        if not idle or self._now.replacing or self._now.closed:
            return False
        return self._now.phase in (Phase.READY, Phase.OFFLINE)

    def _settle(self) -> None:
        """Go where the handshake may go on its own."""
        if self._now.closed or self._now.trouble.code or self._now.phase in UNDECIDED:
            return
        if not self._live.present or self._now.replacing or self._levels.offline:
            self._go(Phase.OFFLINE)
        elif self._now.asked.state is CommandState.EXECUTING:
            self._go(Phase.COMMAND)
        elif self._live.working_since_ns is not None or self._levels.acknowledge:
            self._go(Phase.RELEASE)
        else:
            self._go(Phase.READY)

    def _go(self, phase: Phase) -> None:
        if phase is not self._now.phase:
            self._now.phase = phase
            self._changed()

    def _changed(self) -> None:
        self._shown = None
        self.revision += 1

    def _draft(self, job: Job) -> Draft:
        return Draft(
            station=self.options.name,
            boot_id=self.boot_id,
            job=job,
            recipe=self._now.recipe,
            triggered_at_ns=self._now.triggered_at_ns,
            decided_at_ns=self.clock.time_ns(),
            latency_us=(self.clock.monotonic_ns() - job.triggered_ns) // 1000,
        )

    def _show(self) -> Snapshot:
        return snapshot_from_memory(
            self._now,
            options=self.options,
            boot_id=self.boot_id,
            levels=self._levels,
            heartbeat=self._live.heartbeat,
            present=self._live.present,
            counters=self.tally.counters,
        )
