"""What a station shows and takes: frozen values, and the words in them.

`Control` is for bridges whose PLC sets levels (Modbus); bridges whose peer calls use the methods of
`Port`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

SCHEMA = 1
"""Version of the layout of results and registers."""
SEQUENCE_WORDS = 65535
"""Sequence numbers and boot ids are 1 to this in a 16-bit word; 0 is none."""


CountedEvent: TypeAlias = Literal["triggers", "missed", "timeouts", "late", "faults", "restarts"]


class StationError(RuntimeError):
    """A station cannot do what it was asked: not ready, closed, or no such recipe."""


class Phase(str, enum.Enum):
    """Where the handshake is."""

    OFFLINE = "offline"  # starting, or sent offline
    READY = "ready"  # the worker is idle: a trigger is accepted
    BUSY = "busy"  # a part is being inspected
    RESULT = "result"  # the result is valid until it is acknowledged
    RELEASE = "release"  # acknowledged; waiting for acknowledge low and for an idle worker
    COMMAND = "command"  # a recipe is being changed
    FAULT = "fault"  # nothing is inspected until the fault is cleared

    def __str__(self) -> str:
        return self.value


class OfflineReason(enum.IntEnum):
    """Why a station is not online; three bits."""

    ONLINE = 0
    STARTING = 1
    REQUESTED = 2
    FAULT = 3
    CLOSED = 4


class ResultEvaluation(enum.IntEnum):
    """What is said about a part (OPC 40001-101, ResultEvaluation)."""

    UNDEFINED = 0
    OK = 1
    NOT_OK = 2
    NOT_DECIDABLE = 3


class State(enum.IntEnum):
    """How an inspection ended."""

    NONE = 0
    COMPLETED = 1
    ABORTED = 3
    FAILED = 4


class Decision(enum.IntEnum):
    """What the PLC acts on: bit 0 PASS, bit 1 REJECT."""

    NONE = 0
    PASS = 1
    REJECT = 2
    FAULT = 3


class ErrorCode(enum.IntEnum):
    """Why a part, a command or the station failed; 0 is none."""

    NONE = 0
    DEADLINE = 1
    NO_PICTURE = 2
    BAD_PICTURE = 3
    ENGINE = 4
    ABORTED = 5
    NOT_INSPECTED = 6
    WORKER_LOST = 10
    WORKER_HUNG = 11
    WORKER_START = 12
    TOO_SLOW = 13
    UNKNOWN_COMMAND = 20
    UNKNOWN_RECIPE = 21
    RECIPE_REFUSED = 22
    NOT_NOW = 23


class CommandCode(enum.IntEnum):
    """What the command word may ask."""

    NONE = 0
    RECIPE = 1  # argument: the recipe's id
    ZERO_COUNTERS = 2


class CommandState(enum.IntEnum):
    """How the latest command goes; bits 4 to 6 of status byte 1."""

    IDLE = 0
    EXECUTING = 1
    COMPLETED = 2
    FAILED = 4


@dataclass(frozen=True, slots=True)
class Control:
    """The levels that a PLC sets. Edges are found by the station, not by the bridge.

    The first one of a source sets the levels and is no edge: a trigger that was high before the
    station started triggers nothing.

    Attributes:
        enable: triggers are accepted only while it is high.
        trigger: its rising edge starts an inspection.
        acknowledge: its rising edge takes the result away, low lets the next trigger in.
        execute: its rising edge runs `command` with `argument`.
        offline: the station takes no triggers while it is high.
        clear_error: its rising edge clears a fault.
        heartbeat: 0 to 65535, whatever the PLC counts; shown, not judged.
        trigger_id: 0 to 65535, echoed with the result.
        part_id: 0 to 2**32 - 1, echoed with the result.
        command: see `CommandCode`.
        argument: 0 to 65535.
    """

    enable: bool = False
    trigger: bool = False
    acknowledge: bool = False
    execute: bool = False
    offline: bool = False
    clear_error: bool = False
    heartbeat: int = 0
    trigger_id: int = 0
    part_id: int = 0
    command: int = 0
    argument: int = 0

    @property
    def levels(self) -> tuple[bool, ...]:
        """Everything that is high or low."""
        return (
            self.enable,
            self.trigger,
            self.acknowledge,
            self.execute,
            self.offline,
            self.clear_error,
        )


@dataclass(frozen=True, slots=True)
class DefectBox:
    """Where the worst defect is, in pixels of the camera's picture."""

    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class InspectionResult:
    """What is decided about one part; exactly one for each accepted trigger.

    Attributes:
        station: its name.
        boot_id: 1 to 65535, drawn anew whenever the station's process starts.
        seq: 1 and up since then, one more at each accepted trigger.
        trigger_id: echo.
        part_id: echo.
        recipe_id: the recipe that inspected; 0 before one is loaded.
        model_hash: SHA-256 of the recipe's graph, hexadecimal; empty if it never got there.
        evaluation: OK, NOT_OK, NOT_DECIDABLE, or UNDEFINED after a missed deadline.
        state: COMPLETED, ABORTED or FAILED.
        error: why it is not COMPLETED; NONE otherwise.
        reason: the same in words, one line.
        score: None where there is none; finite otherwise.
        threshold: the score from which a part is NOT_OK.
        defects: regions that reach the threshold.
        worst: the worst of them; zeros if none.
        triggered_at_ns: Unix time of the accepted trigger, UTC.
        acquired_at_ns: Unix time of the picture, UTC; 0 if there is none.
        decided_at_ns: Unix time at which this was decided, UTC.
        acquire_us: microseconds from trigger to picture, monotonic.
        process_us: microseconds that the inspection took, monotonic.
        latency_us: microseconds from accepted trigger to this, monotonic.
        simulated: no camera was involved.
        schema: version of this layout.
        drift: how the last scores lie to those of the build (`edge.health.drift.DriftState`).
        trouble: what is amiss with scores or pictures, in words; it changes no decision.
        picture: where the drawn picture of a rejected part can be seen: an address of the page, or
            a path in the folder of kept parts; empty where there is none. It stays the same when
            the picture has made room for others.
    """

    station: str
    boot_id: int
    seq: int
    trigger_id: int
    part_id: int
    recipe_id: int
    model_hash: str
    evaluation: ResultEvaluation
    state: State
    error: ErrorCode
    reason: str
    score: float | None
    threshold: float
    defects: int
    worst: DefectBox
    triggered_at_ns: int
    acquired_at_ns: int
    decided_at_ns: int
    acquire_us: int
    process_us: int
    latency_us: int
    simulated: bool = False
    schema: int = SCHEMA
    drift: str = ""
    trouble: str = ""
    picture: str = ""

    @property
    def decision(self) -> Decision:
        """PASS for a completed OK alone; everything else is REJECT."""
        passed = self.evaluation is ResultEvaluation.OK and self.state is State.COMPLETED
        return Decision.PASS if passed else Decision.REJECT


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted since the start or since the counters were zeroed.

    Attributes:
        triggers: accepted.
        passed: results that are PASS.
        rejected: results that are REJECT, whatever the reason.
        undecided: of these, those that are neither OK nor NOT_OK.
        missed: triggers that came while the station was not ready or not enabled.
        timeouts: deadlines missed; each was answered with REJECT in time.
        late: answers that came after their deadline and were thrown away.
        faults: times the station went to FAULT.
        restarts: times the worker was started again.
        process_us_min: shortest inspection; 0 before the first.
        process_us_mean: mean of the inspections.
        process_us_max: longest inspection.
    """

    triggers: int = 0
    passed: int = 0
    rejected: int = 0
    undecided: int = 0
    missed: int = 0
    timeouts: int = 0
    late: int = 0
    faults: int = 0
    restarts: int = 0
    process_us_min: int = 0
    process_us_mean: int = 0
    process_us_max: int = 0

    def count(self, event: CountedEvent) -> Counters:
        """Return the counters after an event."""
        return replace(self, **{event: getattr(self, event) + 1})

    def count_result(self, result: InspectionResult) -> Counters:
        """Return the counters after a result."""
        passed = result.decision is Decision.PASS
        undecided = result.evaluation not in (ResultEvaluation.OK, ResultEvaluation.NOT_OK)
        return replace(
            self,
            passed=self.passed + passed,
            rejected=self.rejected + (not passed),
            undecided=self.undecided + undecided,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a bridge shows, of one moment.

    Attributes:
        station: its name.
        boot_id: 1 to 65535, drawn anew whenever the station's process starts.
        phase: where the handshake is.
        online: loaded, warm, not sent offline, no fault.
        offline_reason: why not.
        ready: a trigger would be accepted: the worker is idle.
        trigger_acknowledged: the trigger was accepted and is still high.
        busy: the worker is at work, also on a part whose deadline has passed.
        valid: `result` is there and not yet acknowledged.
        completed: toggles with each result.
        missed: a trigger was missed since the last accepted one.
        overrun: a late answer was thrown away since the last accepted trigger.
        command: how the latest command goes.
        command_error: why it failed.
        fault: the station is in FAULT.
        error: of the fault, else of the result, else NONE.
        reason: the same in words, one line.
        heartbeat: 0 to 65535, one more each 100 ms while the inference loop lives.
        plc_heartbeat: what the PLC wrote last.
        seq: of the latest accepted trigger; 0 before the first.
        recipe_id: loaded; 0 before one is.
        model_hash: of the recipe's graph; empty before one is loaded.
        threshold: of the recipe.
        result: None unless `valid`: a result is never shown twice and never stale.
        counters: since the start.
    """

    station: str
    boot_id: int
    phase: Phase = Phase.OFFLINE
    online: bool = False
    offline_reason: OfflineReason = OfflineReason.STARTING
    ready: bool = False
    trigger_acknowledged: bool = False
    busy: bool = False
    valid: bool = False
    completed: bool = False
    missed: bool = False
    overrun: bool = False
    command: CommandState = CommandState.IDLE
    command_error: ErrorCode = ErrorCode.NONE
    fault: bool = False
    error: ErrorCode = ErrorCode.NONE
    reason: str = ""
    heartbeat: int = 0
    plc_heartbeat: int = 0
    seq: int = 0
    recipe_id: int = 0
    model_hash: str = ""
    threshold: float = 0.0
    result: InspectionResult | None = None
    counters: Counters = field(default_factory=Counters)

    @property
    def decision(self) -> Decision:
        """NONE without a valid result, FAULT in a fault."""
        if self.fault:
            return Decision.FAULT
        return self.result.decision if self.result is not None else Decision.NONE


def word_from_sequence(seq: int) -> int:
    """A sequence number as a 16-bit word: 1 to 65535 and round again; 0 stays none."""
    return (seq - 1) % SEQUENCE_WORDS + 1 if seq > 0 else 0
