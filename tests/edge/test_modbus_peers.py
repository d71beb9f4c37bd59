"""Handshakes with PLCs that nobody here wrote: libmodbus, mbpoll, pymodbus's client."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pymodbus.client import ModbusTcpClient

from edge.bridges import modbus_registers
from edge.bridges.modbus import ModbusBridge, ModbusSection, open_bridge
from edge.bridges.modbus_map import words_from_snapshot
from edge.bridges.modbus_words import Order
from edge.station import Box, ErrorCode, Evaluation, InspectionResult, Snapshot, StationOptions
from edge.station.jobs import Answer, Job, Recipe
from edge.station.station import Station
from edge.station.thread_worker import ThreadWorker

SOURCE = Path(__file__).parent / "plc" / "plc.c"
NOTHING_WRONG = {
    "mismatched": 0,
    "torn": 0,
    "stale": 0,
    "duplicates": 0,
    "gaps": 0,
    "wrong": 0,
    "untoggled": 0,
    "timeouts": 0,
    "frozen": 0,
    "reboots": 0,
    "faults": 0,
}
FULL = [pytest.mark.benchmark, pytest.mark.timeout(1800)]  # `pytest -m benchmark` on this file
Words = Callable[..., tuple[int, ...]]
ENABLE, TRIGGER, ACKNOWLEDGE, EXECUTE, CLEAR = 1, 2, 8, 16, 256


@dataclass
class Scoring:
    """Judges a part by its id: modulo 1000, in thousandths; 500 and above is not OK.

    It is known beforehand what a PLC must see, so a result that is another part's is found out
    even where its ids are right.
    """

    inspects_s: float = 0.001
    stalls_s: float = 1.0
    stalled: list[int] = field(default_factory=list)

    def load(self, recipe_id: int) -> Recipe:
        return Recipe(recipe_id, model_hash="ab" * 32, threshold=0.5, simulated=True)

    def inspect(self, job: Job) -> Answer:
        begun = time.perf_counter_ns()
        if job.part_id in self.stalled:
            time.sleep(self.stalls_s)
        else:
            end = begun + int(self.inspects_s * 1e9)
            time.sleep(max(0.0, self.inspects_s - 0.0002))
            while time.perf_counter_ns() < end:
                pass
        permille = job.part_id % 1000
        bad = permille >= 500
        return Answer(
            job.seq,
            Evaluation.NOT_OK if bad else Evaluation.OK,
            score=permille / 1000,
            defects=int(bad),
            worst=Box(1, 2, 3, 4) if bad else Box(),
            acquired_at_ns=time.time_ns(),
            process_us=(time.perf_counter_ns() - begun) // 1000,
        )

    def close(self) -> None:
        pass


@pytest.fixture
def judge() -> Scoring:
    return Scoring()


@pytest.fixture
def station(judge: Scoring) -> Iterator[Station]:
    options = StationOptions(deadline_ms=2000.0, recipes=frozenset({1, 2}))
    with Station(ThreadWorker(judge), options=options) as station:
        station.wait_ready(10)
        yield station


@pytest.fixture
def bridge(station: Station) -> Iterator[ModbusBridge]:
    with open_bridge(station, ModbusSection(port=0)) as bridge:
        yield bridge


@pytest.fixture(scope="session")
def plc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PLC on libmodbus, compiled."""
    if not (shutil.which("cc") and shutil.which("pkg-config")):
        pytest.skip("no C compiler or no pkg-config; apt-get install gcc pkg-config")
    if subprocess.run(["pkg-config", "--exists", "libmodbus"], check=False).returncode:
        pytest.skip("no libmodbus; apt-get install libmodbus-dev")
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libmodbus"], text=True)
    program = tmp_path_factory.mktemp("plc") / "plc"
    command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
    subprocess.run([*command, *flags.split()], check=True)
    return program


@dataclass(frozen=True)
class Shift:
    """What a PLC is told to do."""

    cycles: int
    scan_us: int = 1000
    timeout_ms: int = 5000
    first_part: int = 4_000_000_000
    scored: bool = True

    def run(self, plc: Path, bridge: ModbusBridge, *, latencies: Path | None = None) -> dict:
        told = (self.cycles, self.scan_us, self.timeout_ms, self.first_part, int(self.scored))
        command = [str(plc), "127.0.0.1", str(bridge.port), *map(str, told)]
        command += [str(latencies)] if latencies else []
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
        assert ended.returncode == 0, (ended.stdout, ended.stderr)
        return json.loads(ended.stdout)


@pytest.mark.parametrize("cycles", [200, pytest.param(10_000, marks=FULL)])
def test_libmodbus_gets_each_result_once_and_of_its_own_part(
    plc: Path, bridge: ModbusBridge, station: Station, cycles: int
) -> None:
    seen = Shift(cycles).run(plc, bridge)
    print(seen)
    assert {name: seen[name] for name in NOTHING_WRONG} == NOTHING_WRONG
    parts = [(4_000_000_000 + number) % 1000 < 500 for number in range(cycles)]
    assert (seen["done"], seen["passed"]) == (cycles, sum(parts))
    counters = station.snapshot().counters
    assert (counters.triggers, counters.passed, counters.missed) == (cycles, sum(parts), 0)


def test_libmodbus_scanning_without_pause(plc: Path, bridge: ModbusBridge) -> None:
    seen = Shift(200, scan_us=0).run(plc, bridge)
    assert {name: seen[name] for name in NOTHING_WRONG} == NOTHING_WRONG
    assert seen["done"] == 200


@pytest.mark.parametrize("stalls", [3, pytest.param(50, marks=FULL)])
def test_libmodbus_rejects_stalled_parts_in_time_and_the_next_is_right(
    plc: Path, judge: Scoring, stalls: int, tmp_path: Path
) -> None:
    first, judge.stalls_s = 4_000_000_000, 1.0
    judge.stalled = [first + 2 * number for number in range(stalls)]
    with (
        Station(ThreadWorker(judge), options=StationOptions(deadline_ms=50.0)) as station,
        open_bridge(station, ModbusSection(port=0)) as bridge,
    ):
        station.wait_ready(10)
        results: list[InspectionResult] = []
        station.on_result(results.append)
        seen = Shift(2 * stalls, scored=False).run(plc, bridge, latencies=tmp_path / "us")
        assert {name: seen[name] for name in NOTHING_WRONG} == NOTHING_WRONG
    assert len(results) == 2 * stalls
    assert {result.error for result in results[::2]} == {ErrorCode.DEADLINE}
    judged = [result for result in results[1::2] if result.error is ErrorCode.NONE]
    assert judged, "no part was ever in time"
    for result in judged:
        assert result.part_id == first + result.seq - 1
        assert result.score == result.part_id % 1000 / 1000
    seen_us, told_us, _ = np.loadtxt(tmp_path / "us").T[:, ::2] / 1000
    print(f"of {stalls} parts between, {stalls - len(judged)} took the machine more than 50 ms")
    print(f"deadline 50 ms, station: {told_us.min():.1f} to {told_us.max():.1f} ms")
    print(f"deadline 50 ms, as the PLC saw it: {seen_us.min():.1f} to {seen_us.max():.1f} ms")


def lagging() -> Words:
    """Show with each result the ids of the one before."""
    last: list[tuple[int, ...]] = []

    def words(snapshot: Snapshot, *, order: Order) -> tuple[int, ...]:
        now = words_from_snapshot(snapshot, order=order)
        if not snapshot.valid:
            return now
        if not last or last[-1][4] != now[4]:
            last.append(now)
        before = last[-2] if len(last) > 1 else now
        return (*now[:5], *before[5:8], *now[8:])

    return words


def torn() -> Words:
    """Show a tail that is not the head's."""

    def words(snapshot: Snapshot, *, order: Order) -> tuple[int, ...]:
        now = words_from_snapshot(snapshot, order=order)
        return (*now[:31], now[31] + 1) if snapshot.valid else now

    return words


def frozen() -> Words:
    """Leave the latest result's words where they are, though it is no longer valid."""
    kept = [0] * 32

    def words(snapshot: Snapshot, *, order: Order) -> tuple[int, ...]:
        now = words_from_snapshot(snapshot, order=order)
        if snapshot.valid:
            kept[:] = now
        return (*now[:4], *kept[4:26], *now[26:])

    return words


@pytest.mark.parametrize(
    ("fault", "noticed"), [(lagging, "mismatched"), (torn, "torn"), (frozen, "stale")]
)
def test_the_plc_would_notice(
    plc: Path,
    bridge: ModbusBridge,
    fault: Callable[[], Words],
    noticed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modbus_registers, "words_from_snapshot", fault())
    assert Shift(20).run(plc, bridge)[noticed] >= 19


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


@pytest.mark.parametrize("cycles", [50, pytest.param(10_000, marks=FULL)])
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
