"""A result that is read at once is of one moment, however fast the moments follow."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.register_map import words_from_snapshot
from edge.plc.modbus.section import ModbusSection
from edge.plc.station.snapshot import (
    Control,
    DefectBox,
    ErrorCode,
    InspectionResult,
    ResultEvaluation,
    Snapshot,
    State,
)


def moment(number: int) -> Snapshot:
    """A snapshot in which every value of the result follows from one number."""
    result = InspectionResult(
        station="s",
        boot_id=9,
        seq=number,
        trigger_id=number % 65536,
        part_id=number * 65537 % (1 << 32),
        recipe_id=number % 65536,
        model_hash="",
        evaluation=ResultEvaluation.OK,
        state=State.COMPLETED,
        error=ErrorCode.NONE,
        reason="",
        score=float(number),
        threshold=0.0,
        defects=number % 65536,
        worst=DefectBox(*(number % 65536,) * 4),
        triggered_at_ns=0,
        acquired_at_ns=0,
        decided_at_ns=number * 1_000_000_000,
        acquire_us=0,
        process_us=0,
        latency_us=number,
    )
    return Snapshot(station="s", boot_id=9, valid=True, seq=number, result=result)


class Racing:
    """A port that shows another moment each time it is asked, as fast as it is asked."""

    def __init__(self) -> None:
        self.shown = Snapshot(station="s", boot_id=9)
        self.number = 0
        self.running = True

    def snapshot(self) -> Snapshot:
        return self.shown

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        return self.shown

    def race(self) -> None:
        while self.running:
            self.number += 1
            self.shown = moment(self.number)


@pytest.fixture
def racing() -> Iterator[Racing]:
    port = Racing()
    thread = threading.Thread(target=port.race)
    thread.start()
    yield port
    port.running = False
    thread.join()


@pytest.mark.parametrize(("function", "base"), [(4, 0), (3, 1000)])
def test_a_block_that_is_read_at_once_is_of_one_moment(
    racing: Racing, function: int, base: int
) -> None:
    seen = set()
    request = struct.pack(">HHHBBHH", 1, 0, 6, 1, function, base, 32)
    with (
        ModbusBridge(racing, ModbusSection(port=0)) as bridge,
        socket.create_connection(("127.0.0.1", bridge.port), timeout=5) as plc,
    ):
        count = 0
        while count < 300 or (len(seen) <= 10 and count < 30_000):  # under load they change late
            count += 1
            plc.sendall(request)
            words = struct.unpack(">32H", plc.recv(9 + 64, socket.MSG_WAITALL)[9:])
            number = words[16] << 16 | words[17]
            assert words == words_from_snapshot(moment(number))
            seen.add(number)
    assert len(seen) > 10, "the moments did not change: nothing was shown"
