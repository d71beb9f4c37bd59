"""What a PLC sees when the process that inspects is killed or stopped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.section import ModbusSection
from edge.plc.station.messages import JudgeOptions, StationOptions
from edge.plc.station.process_worker import ProcessWorker
from edge.plc.station.station import Station

SOAK = [pytest.mark.soak, pytest.mark.timeout(900)]
WORKER = (sys.executable, str(Path(__file__).resolve().parents[3] / "rig" / "station_worker.py"))
LOADS_S = 0.5
ENABLE, TRIGGER, ACKNOWLEDGE, CLEAR = 1 << 0, 1 << 1, 1 << 3, 1 << 8
READY, BUSY, VALID, FAULT = 1 << 0, 1 << 8, 1 << 11, 1 << 15
STATUS, HEARTBEAT, BOOT, PART, DECISION, ERROR, PERMILLE = 0, 1, 3, 6, 8, 10, 14
WORKER_LOST, WORKER_HUNG = 10, 11
MILLION = 1_000_000
PATIENCE_S = 60.0


class Plc:
    """The PLC's side, by hand."""

    def __init__(self, client: ModbusTcpClient) -> None:
        self._client = client

    def words(self) -> list[int]:
        answer = self._client.read_input_registers(0, count=32)
        assert not answer.isError()
        return list(answer.registers)

    def until(self, condition: Callable[[list[int]], bool]) -> list[int]:
        limit = time.monotonic() + PATIENCE_S
        while not condition(words := self.words()):
            assert time.monotonic() < limit, f"never came: {words}"
        return words

    def write(self, bits: int, part: int = 0) -> None:
        self._client.write_registers(0, [bits, 0, 1, part >> 16, part & 0xFFFF])

    def inspects(self, part: int) -> None:
        """One part, from ready to ready, with the score that it must have."""
        self.until(lambda words: bool(words[STATUS] & READY))
        self.write(ENABLE | TRIGGER, part)
        words = self.until(lambda words: bool(words[STATUS] & VALID))
        assert (words[PART] << 16 | words[PART + 1], words[PERMILLE]) == (part, part % 1000)
        assert words[DECISION] == (2 if part % 1000 >= 500 else 1)
        self.write(ENABLE | ACKNOWLEDGE)
        self.until(lambda words: not words[STATUS] & VALID)
        self.write(ENABLE)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ProcessWorker:
    monkeypatch.setenv("RIG_LOADS_S", str(LOADS_S))
    return ProcessWorker(JudgeOptions({1: "none"}, "none"), command=WORKER)


@pytest.fixture
def plc(worker: ProcessWorker) -> Iterator[Plc]:
    with (
        Station(worker, options=StationOptions(deadline_ms=30_000)) as station,
        ModbusBridge(station, ModbusSection(port=0)) as bridge,
        ModbusTcpClient("127.0.0.1", port=bridge.port, timeout=30) as client,
    ):
        station.wait_ready(PATIENCE_S)
        plc = Plc(client)
        plc.write(ENABLE)
        yield plc


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=SOAK)])
def test_a_plc_sees_a_lost_worker_in_time_and_then_its_return(
    plc: Plc, worker: ProcessWorker, number: signal.Signals, rounds: int
) -> None:
    """Every second time in the middle of a part, which must not be passed."""
    boot, noticed_s = plc.words()[BOOT], []
    for turn in range(rounds):
        plc.inspects(70_000 + turn)
        plc.until(lambda words: bool(words[STATUS] & READY))
        if turn % 2:
            plc.write(ENABLE | TRIGGER, 5000 * MILLION // 2 + 1)
            plc.until(lambda words: bool(words[STATUS] & BUSY))
        process_id = worker.process_id
        assert process_id is not None
        begun = time.monotonic()
        os.kill(process_id, number)
        words = plc.until(lambda words: bool(words[STATUS] & FAULT))
        noticed_s.append(time.monotonic() - begun)
        assert not words[STATUS] & (READY | VALID) and words[DECISION] == 3
        assert words[ERROR] == (WORKER_LOST if number == signal.SIGKILL else WORKER_HUNG)
        time.sleep(LOADS_S / 2)
        assert plc.words()[HEARTBEAT] == words[HEARTBEAT], "it stands still without a worker"
        plc.write(ENABLE | CLEAR)
        plc.write(ENABLE)
        plc.inspects(70_500 + turn)
    assert plc.words()[BOOT] == boot, "the bridge was there all the time"
    print(f"{number.name}, {rounds} times: not ready after at most {max(noticed_s):.3f} s")
    assert rounds < 20 or max(noticed_s) <= 1.0
