"""Handshakes with peers that nobody here wrote: mbpoll, and pymodbus's client."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from pymodbus.client import ModbusTcpClient
from scoring import Scoring

from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.station.snapshot import ErrorCode

SOAK = [pytest.mark.soak, pytest.mark.timeout(1800)]
ENABLE, TRIGGER, ACKNOWLEDGE, EXECUTE, CLEAR = 1, 2, 8, 16, 256


class Poller:
    """`mbpoll`, one connection a call, as somebody commissions a station by hand."""

    def __init__(self, bridge: ModbusBridge) -> None:
        self._command = ["mbpoll", "-m", "tcp", "-p", str(bridge.port), "-0", "-1", "-q"]

    def read(self, kind: int, address: int, count: int) -> list[int]:
        """Read registers; `kind` 3 is input, 4 holding."""
        told = ["-t", str(kind), "-r", str(address), "-c", str(count), "127.0.0.1"]
        out = self._run(told).stdout
        values = (line.partition("]:") for line in out.splitlines() if line.startswith("["))
        return [int(value.split()[0]) % 65536 for _, _, value in values]

    def write(self, address: int, *values: int) -> None:
        self._run(["-t", "4", "-r", str(address), "127.0.0.1", *map(str, values)])

    def refused(self, *told: str) -> str:
        ended = subprocess.run([*self._command, *told], capture_output=True, text=True, check=False)
        assert ended.returncode != 0, ended.stdout
        return ended.stderr

    def _run(self, told: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *told], capture_output=True, text=True, check=True)


@pytest.fixture
def mbpoll(bridge: ModbusBridge) -> Poller:
    if not shutil.which("mbpoll"):
        pytest.skip("no mbpoll; apt-get install mbpoll")
    return Poller(bridge)


def waited(read: Callable[[], list[int]], condition: Callable[[list[int]], bool]) -> list[int]:
    """Read until a condition holds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        words = read()
        if condition(words):
            return words
    raise AssertionError(f"never came: {words}")


def valid(words: list[int]) -> bool:
    return bool(words[0] >> 11 & 1)


def test_mbpoll_by_hand(mbpoll: Poller) -> None:
    def block() -> list[int]:
        return mbpoll.read(3, 0, 32)

    mbpoll.write(0, ENABLE)
    waited(block, lambda words: bool(words[0] & 1))
    mbpoll.write(0, ENABLE | TRIGGER, 1, 4321, 0, 250)
    words = waited(block, valid)
    assert words[0] & 2, "the trigger is still held"
    assert (words[4], words[31]) == (1, 1)
    assert words[5:9] == [4321, 0, 250, 1]
    assert words[12:16] == [*struct.unpack(">HH", struct.pack(">f", 0.25)), 250, 500]
    assert mbpoll.read(4, 1000, 32)[2:] == words[2:]
    mbpoll.write(0, ENABLE)
    assert valid(block()) and not block()[0] & 2
    mbpoll.write(0, ENABLE | ACKNOWLEDGE)
    gone = block()
    assert not valid(gone) and gone[4:11] == [0] * 7 and gone[31] == 0
    assert not gone[0] & 1, "not ready while acknowledge is held"
    mbpoll.write(0, ENABLE)
    assert block()[0] & 1


def test_mbpoll_is_refused(mbpoll: Poller) -> None:
    assert "Illegal data address" in mbpoll.refused("-t", "4", "-r", "1000", "127.0.0.1", "1")
    assert "Illegal data address" in mbpoll.refused("-t", "3", "-r", "32", "127.0.0.1")
    assert "Illegal function" in mbpoll.refused("-t", "0", "-r", "0", "127.0.0.1")


@pytest.fixture
def client(bridge: ModbusBridge) -> Iterator[ModbusTcpClient]:
    with ModbusTcpClient("127.0.0.1", port=bridge.port, timeout=5) as client:
        assert client.connected
        yield client


def block_of(client: ModbusTcpClient) -> list[int]:
    response = client.read_input_registers(0, count=32)
    assert not response.isError()
    return response.registers


@pytest.mark.parametrize("cycles", [50, pytest.param(10_000, marks=SOAK)])
def test_pymodbus_cycles(client: ModbusTcpClient, cycles: int) -> None:
    client.write_register(0, ENABLE)
    sequences = []
    for number in range(cycles):
        part = 3_000_000_000 + 7 * number
        waited(lambda: block_of(client), lambda words: bool(words[0] & 1))
        values = [ENABLE | TRIGGER, number % 65536, number % 65536, part >> 16, part & 0xFFFF]
        client.write_registers(0, values)
        words = waited(lambda: block_of(client), valid)
        score = client.convert_from_registers(words[12:14], client.DATATYPE.FLOAT32)
        assert words[5:8] == [number % 65536, part >> 16, part & 0xFFFF]
        assert words[4] == words[31]
        assert score == pytest.approx(part % 1000 / 1000)
        assert words[8] == (2 if part % 1000 >= 500 else 1)
        sequences.append(words[4])
        client.write_register(0, ENABLE | ACKNOWLEDGE)
        assert not valid(block_of(client))
        client.write_register(0, ENABLE)
    assert sequences == list(range(1, cycles + 1))


def test_pymodbus_changes_the_recipe(client: ModbusTcpClient) -> None:
    client.write_registers(0, [ENABLE, 0, 0, 0, 0, 1, 2])
    client.write_register(0, ENABLE | EXECUTE)
    words = waited(lambda: block_of(client), lambda words: bool(words[0] >> 13 & 1))
    assert words[11] == 2 and words[10] == 0
    client.write_register(0, ENABLE)
    client.write_registers(5, [1, 9])
    client.write_register(0, ENABLE | EXECUTE)
    words = waited(lambda: block_of(client), lambda words: bool(words[0] >> 14 & 1))
    assert words[11] == 2 and words[10] == ErrorCode.UNKNOWN_RECIPE


def test_pymodbus_is_refused(client: ModbusTcpClient) -> None:
    assert client.read_coils(0, count=1).exception_code == 1
    assert client.read_input_registers(30, count=3).exception_code == 2
    assert client.write_register(8, 1).exception_code == 2
    assert client.read_holding_registers(500, count=1, device_id=17).exception_code == 2


def test_a_trigger_that_is_high_from_the_start_is_no_edge(client: ModbusTcpClient) -> None:
    client.write_registers(0, [ENABLE | TRIGGER, 0, 7, 0, 7])
    time.sleep(0.05)
    words = block_of(client)
    assert not valid(words) and words[0] & 1 and words[26] == 0
    client.write_register(0, ENABLE)
    client.write_register(0, ENABLE | TRIGGER)
    assert waited(lambda: block_of(client), valid)[5] == 7


def test_a_trigger_that_comes_too_early_is_counted(client: ModbusTcpClient, judge: Scoring) -> None:
    judge.stalled, judge.stalls_s = [500], 0.3
    client.write_register(0, ENABLE)
    client.write_registers(0, [ENABLE | TRIGGER, 0, 1, 0, 500])
    client.write_register(0, ENABLE)
    client.write_registers(0, [ENABLE | TRIGGER, 0, 2, 0, 501])
    words = block_of(client)
    assert words[26] == 1 and words[0] & 8
    assert waited(lambda: block_of(client), valid)[5] == 1


def test_the_heartbeat_goes_on(client: ModbusTcpClient) -> None:
    begun = block_of(client)[1]
    waited(lambda: block_of(client), lambda words: (words[1] - begun) % 65536 >= 3)
