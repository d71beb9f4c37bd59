"""`edge plc simulate`: a PLC that triggers, checks and acknowledges, for commissioning without one.

It scans like a PLC: each scan reads the result block in one request, runs the program, and writes
the control block if it has changed. It rejects by default and trusts nothing: see docs/plc.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from edge.fields import Host, Milliseconds, OptionsModel, Positive, Seconds, option
from edge.plc.modbus.register_map import MIRROR, RESULT_WORDS
from edge.plc.modbus.section import WordOrder
from edge.plc.modbus.word_order import registers_from_u32, u32_from_registers
from edge.plc.station.snapshot import CommandCode, ErrorCode, StationError

ENABLE, TRIGGER, ACKNOWLEDGE, EXECUTE, CLEAR = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 8
READY, TRIGGER_ACK, VALID = 1 << 0, 1 << 1, 1 << 11
COMMAND_DONE, COMMAND_FAILED, FAULT = 1 << 13, 1 << 14, 1 << 15
PASS, REJECT = 1, 2
STATUS, HEARTBEAT, HEAD, TRIGGER_ECHO, PART_ECHO, DECISION, ERROR, TAIL = 0, 1, 4, 5, 6, 8, 10, 31
HEARTBEAT_STALE_S = 1.0
START_S = 60.0  # a station that loads its recipe
WORDS = 0x10000

Condition: TypeAlias = Callable[[int], int | bool]  # of the status word


class SimulationOptions(OptionsModel):
    """What a simulated PLC does: `edge plc simulate`."""

    host: Host = option("127.0.0.1", "Host of `edge serve`.")
    port: Annotated[int, Field(ge=1, le=65535)] = option(5020, "TCP port of its Modbus bridge.")
    cycles: Positive = option(100, "Number of parts to simulate.")
    scan_ms: Milliseconds = option(5.0, "Milliseconds between two scans of the registers.")
    timeout_s: Seconds = option(5.0, "Seconds that the PLC waits in each step.")
    order: WordOrder = option(
        "ABCD", "Order of the bytes of 32-bit values, as modbus.order in edge.toml."
    )
    recipe: Positive | None = option(None, "Number of the recipe to load first.")


@dataclass(slots=True)
class SimulationOutcome:
    """What the PLC saw.

    Attributes:
        cycles: parts that went through.
        accepted: good by the PLC's own rule.
        rejected: all others.
        undecided: of these, without a decision by the inspector: the error was not 0.
        mismatched: results with another part's ids.
        torn: results whose head and tail differ.
        stale: results that were there before the trigger, or words left after acknowledging.
        duplicates: sequence numbers seen twice.
        gaps: sequence numbers that were never seen.
        timeouts: steps for which the PLC's timer ran out.
        faults: faults that were cleared.
        errors: how often which error was shown.
        cycle_ms: from trigger to result as the PLC sees it: p50, p99, max.
    """

    cycles: int = 0
    accepted: int = 0
    rejected: int = 0
    undecided: int = 0
    mismatched: int = 0
    torn: int = 0
    stale: int = 0
    duplicates: int = 0
    gaps: int = 0
    timeouts: int = 0
    faults: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    cycle_ms: dict[str, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether the link worked; rejected parts are not its fault."""
        wrong = self.mismatched + self.torn + self.stale + self.duplicates + self.gaps
        return wrong + self.timeouts + self.faults == 0

    def to_json(self) -> dict[str, Any]:
        """JSON types only."""
        return asdict(self)


def simulate_plc(options: SimulationOptions, *, say: Callable[[str], None]) -> SimulationOutcome:
    """Run the cycles against a station.

    Raises:
        StationError: there is none at this address, the link broke, or pymodbus is not installed.
    """
    with _StationLink(options) as link:
        plc = _Plc(link, options, say)
        plc.begin()
        for number in range(1, options.cycles + 1):
            plc.cycle(number)
        return plc.end()


class _StationLink(AbstractContextManager["_StationLink"]):
    """The two requests of a scan, with pymodbus's client."""

    def __init__(self, options: SimulationOptions) -> None:
        try:
            from pymodbus.client import ModbusTcpClient
        except ModuleNotFoundError as error:
            raise StationError("pymodbus is not installed; pip install 'protoedge[plc]'") from error
        # It logs what it also raises, or what is said below in other words.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._where = f"{options.host}:{options.port}"
        self._client = ModbusTcpClient(
            options.host, port=options.port, timeout=options.timeout_s, retries=0
        )
        if not self._client.connect():  # type: ignore[no-untyped-call]
            raise StationError(f"{self._where}: nobody answers; start edge serve --bridge modbus")

    def read(self) -> list[int]:
        """The result block in one request, so that it is of one moment."""
        return self._request(
            lambda: self._client.read_holding_registers(MIRROR, count=RESULT_WORDS)
        )

    def write(self, words: Sequence[int]) -> None:
        """The control block in one request."""
        self._request(lambda: self._client.write_registers(0, list(words)))

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, request: Callable[[], Any]) -> list[int]:
        from pymodbus.exceptions import ModbusException

        try:
            answer = request()
        except ModbusException as error:
            raise StationError(f"{self._where}: the link broke: {error}") from error
        if answer.isError():
            raise StationError(f"{self._where}: refused: {answer}")
        return list(getattr(answer, "registers", ()))


class _Plc:
    """The PLC's program and memory."""

    def __init__(
        self, link: _StationLink, options: SimulationOptions, say: Callable[[str], None]
    ) -> None:
        self._link = link
        self._options = options
        self._say = say
        self._seen = SimulationOutcome()
        self._words = [0] * RESULT_WORDS
        self._out = [0] * 8
        self._sequence = 0
        self._times: list[float] = []
        self._beat = (0, time.monotonic())  # the heartbeat and when it last changed

    def begin(self) -> None:
        """All low, which makes the next trigger an edge; clear a fault; load the recipe."""
        self._write(0)
        self._clear_fault()
        if self._options.recipe is not None:
            self._out[5:7] = [CommandCode.RECIPE, self._options.recipe]
            self._write(EXECUTE)
            self._until(lambda status: status & (COMMAND_DONE | COMMAND_FAILED), timeout_s=120.0)
            if not self._words[STATUS] & COMMAND_DONE:
                raise StationError(
                    f"recipe {self._options.recipe}: refused: error {self._error()}; "
                    "see docs/plc.md"
                )
            self._out[5:7] = [0, 0]
        self._write(ENABLE)
        if not self._until(lambda status: status & READY, timeout_s=START_S):
            raise StationError(
                f"{self._options.host}:{self._options.port}: not ready within {START_S:g} s; "
                "see what edge serve says"
            )

    def cycle(self, number: int) -> None:
        """One part: ready, trigger, result, acknowledge."""
        self._scan()
        if self._words[STATUS] & VALID:  # it came after our timer had run out
            self._write(ENABLE | ACKNOWLEDGE)
            self._until(lambda status: not status & VALID)
            self._write(ENABLE)
        if not self._until(lambda status: status & (READY | FAULT)):
            return
        if self._words[STATUS] & FAULT:
            self._clear_fault()
            self._write(ENABLE)
            return
        if self._words[HEAD] or self._words[STATUS] & VALID:
            self._seen.stale += 1
        self._out[2] = number % WORDS
        self._out[3:5] = registers_from_u32(number, self._options.order)
        begun = time.monotonic()
        self._write(ENABLE | TRIGGER)
        self._until(lambda status: status & (TRIGGER_ACK | FAULT))
        self._write(ENABLE)
        if self._until(lambda status: status & (VALID | FAULT)):
            self._times.append((time.monotonic() - begun) * 1e3)
            self._check(number)
        else:
            self._seen.rejected += 1  # the PLC's own timer: reject
            self._seen.cycles += 1
            return
        self._write(ENABLE | ACKNOWLEDGE)
        self._until(lambda status: not status & VALID)
        if any(self._words[HEAD:DECISION]):
            self._seen.stale += 1
        self._write(ENABLE)
        self._seen.cycles += 1

    def end(self) -> SimulationOutcome:
        """All low; what was seen."""
        self._write(0)
        if self._times:
            times = sorted(self._times)
            at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
            last = len(times) - 1
            self._seen.cycle_ms = {
                name: round(times[round(share * last)], 3) for name, share in at.items()
            }
        return self._seen

    def _check(self, number: int) -> None:
        """Accept only what the rule allows; count what is wrong."""
        words, seen = self._words, self._seen
        mine = words[TRIGGER_ECHO] == number % WORDS and number == u32_from_registers(
            words[PART_ECHO], words[PART_ECHO + 1], self._options.order
        )
        whole = words[HEAD] == words[TAIL] != 0
        fault = bool(words[STATUS] & FAULT)
        passed = words[DECISION] == PASS and mine and whole and not fault and self._is_fresh()
        seen.accepted += passed
        seen.rejected += not passed
        if words[ERROR]:
            seen.undecided += 1
            name = self._error()
            seen.errors[name] = seen.errors.get(name, 0) + 1
        if fault:
            return
        seen.mismatched += not mine
        seen.torn += words[HEAD] != words[TAIL]
        if self._sequence:
            seen.duplicates += words[HEAD] == self._sequence
            seen.gaps += words[HEAD] not in (self._sequence, self._sequence % (WORDS - 1) + 1)
        self._sequence = words[HEAD]

    def _error(self) -> str:
        code = self._words[ERROR]
        known = {int(one): one.name for one in ErrorCode}
        return f"{code} {known.get(code, 'unknown')}"

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._beat[1] < HEARTBEAT_STALE_S

    def _clear_fault(self) -> None:
        self._scan()
        if not self._words[STATUS] & FAULT:
            return
        self._seen.faults += 1
        self._say(f"fault, error {self._error()}: cleared")
        self._write(CLEAR)
        self._write(0)
        self._until(lambda status: status & READY, timeout_s=max(30.0, self._options.timeout_s))

    def _write(self, bits: int) -> None:
        self._out[0] = bits
        self._out[1] = (self._out[1] + 1) % WORDS
        self._link.write(self._out)

    def _scan(self) -> None:
        self._words = self._link.read()
        if self._words[HEARTBEAT] != self._beat[0]:
            self._beat = (self._words[HEARTBEAT], time.monotonic())

    def _until(
        self, condition: Callable[[int], int | bool], timeout_s: float | None = None
    ) -> bool:
        """Scan until the status meets a condition; False when the PLC's timer runs out."""
        limit = time.monotonic() + (self._options.timeout_s if timeout_s is None else timeout_s)
        while True:
            self._scan()
            if condition(self._words[STATUS]):
                return True
            if time.monotonic() >= limit:
                self._seen.timeouts += 1
                return False
            time.sleep(self._options.scan_ms / 1e3)
