"""The register map: what stands in which register, to the bit.

One declaration serves the encoding, `edge plc map` and the table in ``docs/modbus.md``.
Addresses are those on the wire, which count from 0.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge.plc.address_map import MapRow, RegisterPlace
from edge.plc.modbus.section import WordOrder
from edge.plc.modbus.word_order import (
    registers_from_f32,
    registers_from_u32,
    u16_saturated,
    u16_wrapped,
    u32_from_registers,
    u32_saturated,
)
from edge.plc.station.snapshot import (
    SCHEMA,
    CommandState,
    Control,
    ErrorCode,
    InspectionResult,
    Snapshot,
    word_from_sequence,
)

RESULT_WORDS = 32
CONTROL_WORDS = 8
MIRROR = 1000
"""Holding register at which the result registers are mirrored, for PLCs that read no inputs."""


class Layout(str, enum.Enum):
    """How a value is laid out."""

    BITS = "bits"
    U16 = "uint16"
    U32 = "uint32"
    F32 = "float32"

    def __str__(self) -> str:
        return self.value

    @property
    def words(self) -> int:
        """How many registers it takes."""
        return 2 if self in {Layout.U32, Layout.F32} else 1


@dataclass(frozen=True, slots=True)
class Bit:
    """One or more neighbouring bits of a register; 8 and up are in its high byte.

    Attributes:
        number: of the lowest, 0 the least significant.
        name: what it is called.
        meaning: one line.
        width: how many bits.
        value: what the station shows there; None for what the PLC sets.
    """

    number: int
    name: str
    meaning: str
    value: Callable[[Snapshot], int] | None = None
    width: int = 1

    @property
    def place(self) -> str:
        """Its number, or the first and the last: ``b4-b6``."""
        last = self.number + self.width - 1
        return f"b{self.number}" if self.width == 1 else f"b{self.number}-b{last}"


@dataclass(frozen=True, slots=True)
class Register:
    """A value in one register or two.

    Attributes:
        address: of the first, within its block.
        name: what it is called.
        kind: how it is laid out.
        meaning: one line.
        value: what the station shows there, None standing for 0; None for what the PLC sets.
        bits: of which it consists.
    """

    address: int
    name: str
    kind: Layout
    meaning: str
    value: Callable[[Snapshot], float | None] | None = None
    bits: tuple[Bit, ...] = ()

    def span(self, base: int = 0) -> str:
        """Return its address beyond that of a block, or the first and the last: ``16-17``."""
        first = base + self.address
        return str(first) if self.kind.words == 1 else f"{first}-{first + 1}"


CONTROL_BITS = (
    Bit(0, "TriggerEnable", "triggers are accepted only while it is 1"),
    Bit(1, "Trigger", "rising edge: inspect; hold it until TriggerAck, then take it back"),
    Bit(2, "BufferEnable", "taken and not used: there is one result at a time"),
    Bit(3, "ResultsAck", "rising edge: the result was read; take it back for the next part"),
    Bit(4, "ExecuteCommand", "rising edge: run Command with Argument"),
    Bit(7, "SetOffline", "no triggers are accepted while it is 1"),
    Bit(8, "ClearError", "rising edge: clear a fault"),
)
CONTROL = (
    Register(0, "Control", Layout.BITS, "levels; bits not named: write 0", bits=CONTROL_BITS),
    Register(1, "PlcHeartbeat", Layout.U16, "whatever the PLC counts; shown, not judged"),
    Register(2, "TriggerId", Layout.U16, "taken at Trigger's edge, echoed with the result"),
    Register(3, "PartId", Layout.U32, "taken at Trigger's edge, echoed with the result"),
    Register(5, "Command", Layout.U16, "1: load the recipe Argument; 2: zero the counters"),
    Register(6, "Argument", Layout.U16, "of Command"),
    Register(7, "Spare", Layout.U16, "taken and not used"),
)
STATUS_BITS = (
    Bit(0, "Ready", "the worker is idle: a trigger will be accepted", lambda s: s.ready),
    Bit(
        1,
        "TriggerAck",
        "the trigger was accepted; 0 again when Trigger is taken back",
        lambda s: s.trigger_acknowledged,
    ),
    Bit(3, "MissedAcq", "a trigger was missed since the last accepted one", lambda s: s.missed),
    Bit(
        4,
        "OfflineReason",
        "0 online, 1 starting, 2 by SetOffline, 3 fault, 4 closed",
        lambda s: s.offline_reason,
        width=3,
    ),
    Bit(7, "Online", "loaded, warm, not sent offline, no fault", lambda s: s.online),
    Bit(8, "Busy", "the worker inspects, also a part whose deadline has passed", lambda s: s.busy),
    Bit(9, "Completed", "toggles with each result", lambda s: s.completed),
    Bit(
        10,
        "Overrun",
        "a late answer was thrown away since the last accepted trigger",
        lambda s: s.overrun,
    ),
    Bit(
        11,
        "ResultsValid",
        "registers 4 to 25 and 31 hold a result; 0 after ResultsAck",
        lambda s: _result(s) is not None,
    ),
    Bit(12, "CommandExecuting", "the command runs", lambda s: s.command is CommandState.EXECUTING),
    Bit(
        13,
        "CommandCompleted",
        "the latest command is done",
        lambda s: s.command is CommandState.COMPLETED,
    ),
    Bit(
        14,
        "CommandFailed",
        "the latest command failed: see Error",
        lambda s: s.command is CommandState.FAILED,
    ),
    Bit(15, "Error", "fault: nothing is inspected until ClearError", lambda s: s.fault),
)
DECISION_BITS = (
    Bit(0, "PASS", "the part is good"),
    Bit(1, "REJECT", "it is not, or nobody knows; neither bit: no result; both: fault"),
)


def _status(snapshot: Snapshot) -> int:
    """The two status bytes, byte 0 in the low one."""
    word = 0
    for bit in STATUS_BITS:
        if bit.value is not None:
            word |= (int(bit.value(snapshot)) & (1 << bit.width) - 1) << bit.number
    return word


def _result(snapshot: Snapshot) -> InspectionResult | None:
    """The valid result; None also when a snapshot contradicts itself or is in a fault."""
    return snapshot.result if snapshot.valid and not snapshot.fault else None


def _of_result(
    read: Callable[[InspectionResult], float | None],
) -> Callable[[Snapshot], float | None]:
    """Make a value of a part's result one of a snapshot: None unless a result is valid."""

    def value(snapshot: Snapshot) -> float | None:
        result = _result(snapshot)
        return None if result is None else read(result)

    return value


def _error(snapshot: Snapshot) -> int:
    """Why there is no good result: of the fault, else of the result, else of the command."""
    if snapshot.error is ErrorCode.NONE and snapshot.command is CommandState.FAILED:
        return snapshot.command_error
    return snapshot.error


def _recipe(snapshot: Snapshot) -> int:
    result = _result(snapshot)
    return snapshot.recipe_id if result is None else result.recipe_id


def _threshold(snapshot: Snapshot) -> float:
    result = _result(snapshot)
    return snapshot.threshold if result is None else result.threshold


def _decision(snapshot: Snapshot) -> int:
    if snapshot.fault:
        return snapshot.decision
    result = _result(snapshot)
    return 0 if result is None else result.decision


_sequence = _of_result(lambda result: word_from_sequence(result.seq))

RESULT = (
    Register(0, "Status", Layout.BITS, "low byte first", _status, STATUS_BITS),
    Register(
        1,
        "Heartbeat",
        Layout.U16,
        "one more each 100 ms while the inference loop lives",
        lambda snapshot: u16_wrapped(snapshot.heartbeat),
    ),
    Register(2, "LayoutVersion", Layout.U16, f"{SCHEMA}: this table", lambda _: SCHEMA),
    Register(
        3,
        "BootId",
        Layout.U16,
        "another at each start of the station",
        lambda snapshot: u16_wrapped(snapshot.boot_id),
    ),
    Register(4, "SequenceHead", Layout.U16, "1 to 65535 and round again; 0: no result", _sequence),
    Register(5, "TriggerIdEcho", Layout.U16, "of this result", _of_result(lambda r: r.trigger_id)),
    Register(6, "PartIdEcho", Layout.U32, "of this result", _of_result(lambda r: r.part_id)),
    Register(
        8, "Decision", Layout.BITS, "good only if PASS and not REJECT", _decision, DECISION_BITS
    ),
    Register(
        9,
        "Evaluation",
        Layout.U16,
        "0 undefined, 1 OK, 2 not OK, 3 not decidable",
        _of_result(lambda r: r.evaluation),
    ),
    Register(10, "Error", Layout.U16, "of the fault, the result or the command: see below", _error),
    Register(11, "Recipe", Layout.U16, "that inspected; without a result: loaded", _recipe),
    Register(
        12, "Score", Layout.F32, "0 if there is none", _of_result(lambda result: result.score)
    ),
    Register(
        14,
        "ScorePermille",
        Layout.U16,
        "score in thousandths, at most 65535",
        _of_result(lambda r: None if r.score is None else r.score * 1000),
    ),
    Register(
        15,
        "ThresholdPermille",
        Layout.U16,
        "score from which a part is not OK, in thousandths",
        _of_result(lambda result: result.threshold * 1000),
    ),
    Register(
        16,
        "LatencyUs",
        Layout.U32,
        "from accepted trigger to result, in µs",
        _of_result(lambda r: r.latency_us),
    ),
    Register(
        18,
        "Defects",
        Layout.U16,
        "regions that reach the threshold",
        _of_result(lambda r: r.defects),
    ),
    Register(19, "WorstX", Layout.U16, "worst region, in px", _of_result(lambda r: r.worst.x)),
    Register(20, "WorstY", Layout.U16, "worst region, in px", _of_result(lambda r: r.worst.y)),
    Register(
        21, "WorstWidth", Layout.U16, "worst region, in px", _of_result(lambda r: r.worst.width)
    ),
    Register(
        22, "WorstHeight", Layout.U16, "worst region, in px", _of_result(lambda r: r.worst.height)
    ),
    Register(
        23,
        "UnixSeconds",
        Layout.U32,
        "when the result was decided, UTC",
        _of_result(lambda r: r.decided_at_ns // 1_000_000_000),
    ),
    Register(
        25,
        "Milliseconds",
        Layout.U16,
        "the rest of that time, 0 to 999",
        _of_result(lambda r: r.decided_at_ns // 1_000_000 % 1000),
    ),
    Register(
        26,
        "Missed",
        Layout.U16,
        "triggers missed, modulo 65536",
        lambda snapshot: u16_wrapped(snapshot.counters.missed),
    ),
    Register(
        27,
        "Timeouts",
        Layout.U16,
        "deadlines missed, modulo 65536",
        lambda snapshot: u16_wrapped(snapshot.counters.timeouts),
    ),
    Register(
        28,
        "Threshold",
        Layout.F32,
        "score from which a part is not OK; without a result: of the loaded recipe",
        _threshold,
    ),
    Register(30, "Spare30", Layout.U16, "0", lambda _: 0),
    Register(31, "SequenceTail", Layout.U16, "as SequenceHead, else read again", _sequence),
)


def words_from_snapshot(snapshot: Snapshot, *, order: WordOrder = "ABCD") -> tuple[int, ...]:
    """Return the result block, `RESULT_WORDS` registers of one moment.

    Args:
        snapshot: what to show.
        order: of the bytes of 32-bit values.
    """
    words = [0] * RESULT_WORDS
    for register in RESULT:
        value = None if register.value is None else register.value(snapshot)
        at = register.address
        if register.kind is Layout.F32:
            words[at : at + 2] = registers_from_f32(value, order)
        elif register.kind is Layout.U32:
            words[at : at + 2] = registers_from_u32(u32_saturated(value), order)
        else:
            words[at] = u16_saturated(value)
    return tuple(words)


def control_from_words(words: Sequence[int], *, order: WordOrder = "ABCD") -> Control:
    """Return the levels and values of the control block.

    Args:
        words: `CONTROL_WORDS` registers, 0 to 65535 each.
        order: of the bytes of 32-bit values.
    """
    levels = {bit.name: bool(words[0] >> bit.number & 1) for bit in CONTROL_BITS}
    return Control(
        enable=levels["TriggerEnable"],
        trigger=levels["Trigger"],
        acknowledge=levels["ResultsAck"],
        execute=levels["ExecuteCommand"],
        offline=levels["SetOffline"],
        clear_error=levels["ClearError"],
        heartbeat=words[1],
        trigger_id=words[2],
        part_id=u32_from_registers(words[3], words[4], order),
        command=words[5],
        argument=words[6],
    )


def map_rows() -> Sequence[MapRow]:
    """Return every register and every bit of it, as addressed on the wire, from 0."""
    rows: list[MapRow] = []
    for control in CONTROL:
        place = RegisterPlace(control.address, None, control.kind.words)
        rows += _map_rows_of(control, f"holding {control.span()}", place, access="read-write")
    for result in RESULT:
        address = f"input {result.span()}, holding {result.span(MIRROR)}"
        place = RegisterPlace(MIRROR + result.address, result.address, result.kind.words)
        rows += _map_rows_of(result, address, place, access="read")
    return tuple(rows)


def _map_rows_of(
    register: Register, address: str, place: RegisterPlace, *, access: str
) -> list[MapRow]:
    kind, meaning = str(register.kind), register.meaning
    rows = [MapRow("modbus", address, register.name, kind, access, meaning, place)]
    for bit in register.bits:
        where, name = f"{address}, {bit.place}", f"{register.name}.{bit.name}"
        kind = "bool" if bit.width == 1 else f"uint{bit.width}"
        one = replace(place, bit=bit.number, bits=bit.width)
        rows.append(MapRow("modbus", where, name, kind, access, bit.meaning, one))
    return rows
