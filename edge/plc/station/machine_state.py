"""What a station remembers, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.plc.station.edge_detection import Levels
from edge.plc.station.messages import Job, Recipe, StationOptions
from edge.plc.station.snapshot import (
    CommandState,
    Counters,
    ErrorCode,
    InspectionResult,
    OfflineReason,
    Phase,
    Snapshot,
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault that is latched."""

    code: ErrorCode = ErrorCode.NONE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The latest command and how it goes."""

    state: CommandState = CommandState.IDLE
    error: ErrorCode = ErrorCode.NONE
    reason: str = ""


@dataclass(slots=True)
class Memory:
    """The state of a machine.

    Attributes:
        phase: where the handshake is.
        recipe: what the worker has loaded.
        job: what the worker does, perhaps long after its deadline; None while it is idle.
        seq: of the latest accepted trigger.
        triggered_at_ns: Unix time of that trigger, UTC.
        result: what is shown until it is acknowledged.
        completed: toggles with each result.
        missed: a trigger was missed since the last accepted one.
        overrun: a late answer was thrown away since the last accepted trigger.
        trouble: the fault that is latched.
        asked: the latest command.
        replacing: the worker is to be replaced; nothing goes on until it is back or gone.
        closed: offline for good.
    """

    phase: Phase = Phase.OFFLINE
    recipe: Recipe = field(default_factory=lambda: Recipe(0))
    job: Job | None = None
    seq: int = 0
    triggered_at_ns: int = 0
    result: InspectionResult | None = None
    completed: bool = False
    missed: bool = False
    overrun: bool = False
    trouble: Trouble = field(default_factory=Trouble)
    asked: Asked = field(default_factory=Asked)
    replacing: bool = False
    closed: bool = False

    def error(self) -> tuple[ErrorCode, str]:
        """The most urgent of what is wrong, and in words."""
        if self.trouble.code:
            return self.trouble.code, self.trouble.reason
        if self.result is not None and self.result.error:
            return self.result.error, self.result.reason
        return self.asked.error, self.asked.reason

    def offline_reason(self, *, present: bool) -> OfflineReason:
        """Why the station is not online."""
        if self.closed:
            return OfflineReason.CLOSED
        if self.phase is Phase.FAULT:
            return OfflineReason.FAULT
        if self.phase is not Phase.OFFLINE:
            return OfflineReason.ONLINE
        ready = present and not self.replacing
        return OfflineReason.REQUESTED if ready else OfflineReason.STARTING


def snapshot_from_memory(
    memory: Memory,
    *,
    options: StationOptions,
    boot_id: int,
    levels: Levels,
    heartbeat: int,
    present: bool,
    counters: Counters,
) -> Snapshot:
    """Everything that is shown of a moment."""
    error, reason = memory.error()
    executing = memory.asked.state is CommandState.EXECUTING
    return Snapshot(
        station=options.name,
        boot_id=boot_id,
        phase=memory.phase,
        online=memory.phase not in (Phase.OFFLINE, Phase.FAULT),
        offline_reason=memory.offline_reason(present=present),
        ready=memory.phase is Phase.READY,
        trigger_acknowledged=levels.trigger_held,
        busy=memory.job is not None or executing,
        valid=memory.phase is Phase.RESULT,
        completed=memory.completed,
        missed=memory.missed,
        overrun=memory.overrun,
        command=memory.asked.state,
        command_error=memory.asked.error,
        fault=memory.phase is Phase.FAULT,
        error=error,
        reason=reason,
        heartbeat=heartbeat,
        plc_heartbeat=levels.heartbeat,
        seq=memory.seq,
        recipe_id=memory.recipe.recipe_id,
        model_hash=memory.recipe.model_hash,
        threshold=memory.recipe.threshold,
        result=memory.result,
        counters=counters,
    )
