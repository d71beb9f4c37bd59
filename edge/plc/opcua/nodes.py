"""The OPC UA address space of a station: flat scalars, and what each one shows.

Flat, since S7-1500 clients do not resolve structures at run time. Without a valid result every node
of ``Result`` has a Bad status *and* is zero: there are panels that ignore the status.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Literal, TypeAlias

from edge.plc.address_map import MapRow
from edge.plc.station.snapshot import SCHEMA, Control, Decision, InspectionResult, Snapshot

NAMESPACE = "urn:protoedge:station"
NodeKind: TypeAlias = Literal["Boolean", "UInt16", "UInt32", "Float", "String", "DateTime"]
NodeValue: TypeAlias = bool | int | float | str | datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
ZERO: dict[NodeKind, NodeValue] = {
    "Boolean": False,
    "UInt16": 0,
    "UInt32": 0,
    "Float": 0.0,
    "String": "",
    "DateTime": datetime(1601, 1, 1, tzinfo=timezone.utc),  # 0 on the wire
}
"""What a node is when there is nothing to show."""
MAX_VALUES: dict[NodeKind, int] = {"UInt16": 2**16 - 1, "UInt32": 2**32 - 1}


@dataclass(frozen=True, slots=True)
class StatusNode:
    """A node that is always Good."""

    name: str
    kind: NodeKind
    meaning: str
    read: Callable[[Snapshot], NodeValue]


@dataclass(frozen=True, slots=True)
class ResultNode:
    """A node that is Good only while a result is valid; `read` gives None where it has no value."""

    name: str
    kind: NodeKind
    meaning: str
    read: Callable[[InspectionResult], NodeValue | None]


@dataclass(frozen=True, slots=True)
class ControlNode:
    """A level that the PLC writes; `field` is its name in `Control`."""

    name: str
    kind: NodeKind
    meaning: str
    field: str


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a method."""

    name: str
    kind: NodeKind
    meaning: str


@dataclass(frozen=True, slots=True)
class StationMethod:
    """A method of the station."""

    name: str
    meaning: str
    takes: tuple[Argument, ...]
    gives: tuple[Argument, ...]


STATUS: tuple[StatusNode, ...] = (
    StatusNode("Ready", "Boolean", "a trigger would be accepted: worker idle", lambda s: s.ready),
    StatusNode("Online", "Boolean", "loaded, warm, not sent offline, no fault", lambda s: s.online),
    StatusNode("Busy", "Boolean", "the worker is at work", lambda s: s.busy),
    StatusNode(
        *("TriggerAcknowledged", "Boolean", "the trigger was accepted and is still high"),
        lambda s: s.trigger_acknowledged,
    ),
    StatusNode("Valid", "Boolean", "Result.* holds a result, not yet taken", lambda s: s.valid),
    StatusNode("Completed", "Boolean", "toggles with each result", lambda s: s.completed),
    StatusNode("Missed", "Boolean", "a trigger came while not ready", lambda s: s.missed),
    StatusNode("Overrun", "Boolean", "a late answer was thrown away", lambda s: s.overrun),
    StatusNode("Fault", "Boolean", "nothing is inspected until it is cleared", lambda s: s.fault),
    StatusNode("Phase", "String", "where the handshake is, in words", lambda s: str(s.phase)),
    StatusNode(
        "OfflineReason", "UInt16", "why it is not online; 0 online", lambda s: int(s.offline_reason)
    ),
    StatusNode("Error", "UInt16", "error code of the fault or the result", lambda s: int(s.error)),
    StatusNode("Reason", "String", "the same in words", lambda s: s.reason),
    StatusNode(
        *("Heartbeat", "UInt16", "one more each 100 ms while the inference loop lives"),
        lambda s: s.heartbeat,
    ),
    StatusNode("PlcHeartbeat", "UInt16", "what the PLC wrote last", lambda s: s.plc_heartbeat),
    StatusNode("BootId", "UInt16", "another one after each restart", lambda s: s.boot_id),
    StatusNode("LayoutVersion", "UInt16", "of these nodes", lambda _: SCHEMA),
    StatusNode("Seq", "UInt32", "of the latest accepted trigger", lambda s: s.seq),
    StatusNode("RecipeId", "UInt16", "recipe that is loaded; 0 none", lambda s: s.recipe_id),
    StatusNode("ModelHash", "String", "SHA-256 of the recipe's graph", lambda s: s.model_hash),
    StatusNode("Threshold", "Float", "score from which a part is not OK", lambda s: s.threshold),
    StatusNode(
        "Command", "UInt16", "0 idle, 1 executing, 2 completed, 4 failed", lambda s: int(s.command)
    ),
    StatusNode("CommandError", "UInt16", "why the command failed", lambda s: int(s.command_error)),
    StatusNode("Triggers", "UInt32", "triggers accepted", lambda s: s.counters.triggers),
    StatusNode("Passed", "UInt32", "results that are PASS", lambda s: s.counters.passed),
    StatusNode("Rejected", "UInt32", "results that are REJECT", lambda s: s.counters.rejected),
    StatusNode(
        "Undecided", "UInt32", "of these, neither OK nor not OK", lambda s: s.counters.undecided
    ),
    StatusNode(
        *("MissedTriggers", "UInt32", "triggers that came while not ready"),
        lambda s: s.counters.missed,
    ),
    StatusNode(
        *("Timeouts", "UInt32", "deadlines missed, answered with REJECT"),
        lambda s: s.counters.timeouts,
    ),
    StatusNode("LateAnswers", "UInt32", "answers thrown away", lambda s: s.counters.late),
    StatusNode("Faults", "UInt32", "times it went to fault", lambda s: s.counters.faults),
    StatusNode(
        "Restarts", "UInt32", "times the worker was started again", lambda s: s.counters.restarts
    ),
    StatusNode(
        "ProcessUsMin", "UInt32", "shortest inspection, us", lambda s: s.counters.process_us_min
    ),
    StatusNode(
        "ProcessUsMean", "UInt32", "mean inspection, us", lambda s: s.counters.process_us_mean
    ),
    StatusNode(
        "ProcessUsMax", "UInt32", "longest inspection, us", lambda s: s.counters.process_us_max
    ),
)

RESULT: tuple[ResultNode, ...] = (
    ResultNode("Seq", "UInt32", "number of the accepted trigger", lambda r: r.seq),
    ResultNode("TriggerId", "UInt16", "echo", lambda r: r.trigger_id),
    ResultNode("PartId", "UInt32", "echo", lambda r: r.part_id),
    ResultNode(
        *("Pass", "Boolean", "let the part through, if Reject is not set"),
        lambda r: r.decision is Decision.PASS,
    ),
    ResultNode("Reject", "Boolean", "reject the part", lambda r: r.decision is not Decision.PASS),
    ResultNode(
        *("Evaluation", "UInt16", "0 undefined, 1 OK, 2 not OK, 3 not decidable"),
        lambda r: int(r.evaluation),
    ),
    ResultNode("State", "UInt16", "1 completed, 3 aborted, 4 failed", lambda r: int(r.state)),
    ResultNode("Error", "UInt16", "why it is not completed; 0 none", lambda r: int(r.error)),
    ResultNode("Reason", "String", "the same in words", lambda r: r.reason),
    ResultNode("RecipeId", "UInt16", "recipe that inspected", lambda r: r.recipe_id),
    ResultNode("ModelHash", "String", "SHA-256 of its graph", lambda r: r.model_hash),
    ResultNode("Score", "Float", "compared with the threshold; Bad if none", lambda r: r.score),
    ResultNode("Threshold", "Float", "score from which a part is not OK", lambda r: r.threshold),
    ResultNode("Defects", "UInt16", "regions that reach the threshold", lambda r: r.defects),
    ResultNode("WorstX", "UInt16", "left edge of the worst region, px", lambda r: r.worst.x),
    ResultNode("WorstY", "UInt16", "upper edge of the worst region, px", lambda r: r.worst.y),
    ResultNode("WorstWidth", "UInt16", "width of the worst region, px", lambda r: r.worst.width),
    ResultNode("WorstHeight", "UInt16", "height of the worst region, px", lambda r: r.worst.height),
    ResultNode("TriggeredAt", "DateTime", "UTC", lambda r: time_from_ns(r.triggered_at_ns)),
    ResultNode(
        *("AcquiredAt", "DateTime", "UTC; Bad without a picture"),
        lambda r: time_from_ns(r.acquired_at_ns),
    ),
    ResultNode("DecidedAt", "DateTime", "UTC", lambda r: time_from_ns(r.decided_at_ns)),
    ResultNode("AcquireUs", "UInt32", "trigger to picture, us", lambda r: r.acquire_us),
    ResultNode("ProcessUs", "UInt32", "the inspection itself, us", lambda r: r.process_us),
    ResultNode("LatencyUs", "UInt32", "trigger to result, us", lambda r: r.latency_us),
    ResultNode("Simulated", "Boolean", "no camera was involved", lambda r: r.simulated),
    ResultNode(
        *("Picture", "String", "where the drawn picture of a rejected part is; empty if nowhere"),
        lambda r: r.picture,
    ),
)

CONTROL: tuple[ControlNode, ...] = (
    ControlNode("Enable", "Boolean", "triggers count only while it is high", "enable"),
    ControlNode("Trigger", "Boolean", "its rising edge starts an inspection", "trigger"),
    ControlNode("Acknowledge", "Boolean", "its rising edge takes the result", "acknowledge"),
    ControlNode("Execute", "Boolean", "its rising edge runs Command", "execute"),
    ControlNode("Offline", "Boolean", "no triggers while it is high", "offline"),
    ControlNode("ClearError", "Boolean", "its rising edge clears a fault", "clear_error"),
    ControlNode("Heartbeat", "UInt16", "whatever the PLC counts", "heartbeat"),
    ControlNode("TriggerId", "UInt16", "echoed with the result", "trigger_id"),
    ControlNode("PartId", "UInt32", "echoed with the result", "part_id"),
    ControlNode("Command", "UInt16", "1 recipe, 2 zero counters", "command"),
    ControlNode("Argument", "UInt16", "of the command: the recipe's id", "argument"),
)

INSPECT = StationMethod(
    "Inspect",
    "trigger, wait, take the result; Bad_InvalidState if the station is not ready",
    (
        Argument("TriggerId", "UInt16", "echoed"),
        Argument("PartId", "UInt32", "echoed"),
        Argument("TimeoutMs", "UInt32", "deadline; 0 takes the station's own"),
    ),
    (
        Argument("Seq", "UInt32", "number of the accepted trigger"),
        Argument("TriggerId", "UInt16", "echo"),
        Argument("PartId", "UInt32", "echo"),
        Argument("Evaluation", "UInt16", "accept the part only if it is 1 and Error is 0"),
        Argument("Error", "UInt16", "why there is no decision; 0 none"),
        Argument("Score", "Float", "0 where there is none"),
    ),
)
RECIPE = StationMethod(
    "Recipe",
    "change the recipe and wait until it is loaded and tested",
    (Argument("RecipeId", "UInt16", "the recipe"),),
    (Argument("Error", "UInt16", "0, or why the old one stays"),),
)
RESET = StationMethod("Reset", "clear a fault", (), ())
METHODS = (INSPECT, RECIPE, RESET)


def node_name(station: str, group: str, name: str) -> str:
    """Return the identifier of a node, as in ``ns=2;s=station.Status.Ready``."""
    return f"{station}.{group}.{name}"


def method_name(station: str, name: str) -> str:
    """Return the identifier of a method."""
    return f"{station}.{name}"


def time_from_ns(unix_ns: int) -> datetime | None:
    """Return a time, UTC, of Unix nanoseconds; None for 0."""
    return _EPOCH + timedelta(microseconds=unix_ns // 1000) if unix_ns else None


def fit(value: NodeValue, kind: NodeKind) -> NodeValue:
    """Return a value within its type's range: what is too large is shown as the largest."""
    if kind in MAX_VALUES and isinstance(value, int):
        return min(max(value, 0), MAX_VALUES[kind])
    return value


def control_from_values(values: Sequence[NodeValue]) -> Control:
    """Return the levels from the nodes' values, in the order of `CONTROL`."""
    given = {node.field: value for node, value in zip(CONTROL, values, strict=True)}
    return Control(
        **{field.name: given[field.name] for field in fields(Control)}  # type: ignore[arg-type]
    )


def map_rows(station: str = "station") -> Sequence[MapRow]:
    """Return every node and method for `edge plc map`."""
    prefix = f"nsu={NAMESPACE};s="
    rows = [
        MapRow("opcua", prefix + node_name(station, group, node.name), node.name, node.kind, *rest)
        for group, nodes, access in (
            ("Status", STATUS, "read"),
            ("Result", RESULT, "read"),
            ("Control", CONTROL, "read-write"),
        )
        for node in nodes
        for rest in ((access, node.meaning),)
    ]
    for method in METHODS:
        kind = f"({_signature(method.takes)}) -> ({_signature(method.gives)})"
        address = prefix + method_name(station, method.name)
        rows.append(MapRow("opcua", address, method.name, kind, "call", method.meaning))
    return tuple(rows)


def _signature(arguments: Sequence[Argument]) -> str:
    return ", ".join(f"{argument.name} {argument.kind}" for argument in arguments)
