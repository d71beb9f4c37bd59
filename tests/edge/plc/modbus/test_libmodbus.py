"""Handshakes with a PLC on libmodbus, and whether that PLC would notice what must not happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from libmodbus import Shift, wrong
from scoring import Scoring

from edge.plc.modbus import registers
from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.register_map import words_from_snapshot
from edge.plc.modbus.section import ModbusSection, WordOrder
from edge.plc.station.messages import StationOptions
from edge.plc.station.snapshot import ErrorCode, InspectionResult, Snapshot
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

SOAK = [pytest.mark.soak, pytest.mark.timeout(1800)]
Words = Callable[..., tuple[int, ...]]


@pytest.mark.parametrize("cycles", [200, pytest.param(10_000, marks=SOAK)])
def test_libmodbus_gets_each_result_once_and_of_its_own_part(
    plc: Path, bridge: ModbusBridge, station: Station, cycles: int
) -> None:
    seen = Shift(cycles).run(plc, bridge)
    print(seen)
    assert wrong(seen) == {}
    parts = [(4_000_000_000 + number) % 1000 < 500 for number in range(cycles)]
    assert (seen["done"], seen["passed"]) == (cycles, sum(parts))
    counters = station.snapshot().counters
    assert (counters.triggers, counters.passed, counters.missed) == (cycles, sum(parts), 0)


def test_libmodbus_scanning_without_pause(plc: Path, bridge: ModbusBridge) -> None:
    seen = Shift(200, scan_us=0).run(plc, bridge)
    assert wrong(seen) == {}
    assert seen["done"] == 200


@pytest.mark.parametrize("stalls", [3, pytest.param(50, marks=SOAK)])
def test_libmodbus_rejects_stalled_parts_in_time_and_the_next_is_right(
    plc: Path, judge: Scoring, stalls: int, tmp_path: Path
) -> None:
    first, judge.stalls_s = 4_000_000_000, 1.0 if stalls == 50 else 0.3
    judge.stalled = [first + 2 * number for number in range(stalls)]
    with (
        Station(ThreadWorker(judge), options=StationOptions(deadline_ms=50.0)) as station,
        ModbusBridge(station, ModbusSection(port=0)) as bridge,
    ):
        station.wait_ready(10)
        results: list[InspectionResult] = []
        station.on_result(results.append)
        seen = Shift(2 * stalls, scored=False).run(plc, bridge, latencies=tmp_path / "us")
        assert wrong(seen) == {}
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
    if stalls == 50:
        assert told_us.max() <= 50 + 5 and seen_us.max() <= 50 + 5


def lagging() -> Words:
    """Show with each result the ids of the one before."""
    last: list[tuple[int, ...]] = []

    def words(snapshot: Snapshot, *, order: WordOrder) -> tuple[int, ...]:
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

    def words(snapshot: Snapshot, *, order: WordOrder) -> tuple[int, ...]:
        now = words_from_snapshot(snapshot, order=order)
        return (*now[:31], now[31] + 1) if snapshot.valid else now

    return words


def frozen() -> Words:
    """Leave the latest result's words where they are, though it is no longer valid."""
    kept = [0] * 32

    def words(snapshot: Snapshot, *, order: WordOrder) -> tuple[int, ...]:
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
    monkeypatch.setattr(registers, "words_from_snapshot", fault())
    assert Shift(20).run(plc, bridge)[noticed] >= 19
