"""The simulated PLC notices what must not happen: it is shown stations that lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

pytest.importorskip("pymodbus", reason="pymodbus is not installed")

from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.section import ModbusSection
from edge.plc.simulate import SimulationOptions, simulate_plc
from edge.plc.station.messages import Answer, Recipe, StationOptions
from edge.plc.station.snapshot import ErrorCode, ResultEvaluation, Snapshot, StationError
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

OPTIONS = StationOptions(deadline_ms=20_000, recipes=frozenset({1, 2}))


class EverySecondIsBad:
    """Every second part is bad."""

    def load(self, recipe_id: int, progress: object) -> Recipe:
        return Recipe(recipe_id, threshold=0.5)

    def inspect(self, job) -> Answer:
        bad = job.part_id % 2
        return Answer(
            job.seq, ResultEvaluation.NOT_OK if bad else ResultEvaluation.OK, score=0.1 + 0.8 * bad
        )

    def close(self) -> None:
        """Nothing is held."""


class Liar:
    """A station whose snapshots somebody changes on the way."""

    def __init__(self, station: Station, lie: Callable[[Snapshot], Snapshot]) -> None:
        self._station = station
        self._lie = lie

    def snapshot(self) -> Snapshot:
        return self._lie(self._station.snapshot())

    def control(self, control, *, source: str = "plc") -> Snapshot:
        return self._lie(self._station.control(control, source=source))

    def __getattr__(self, name: str):
        return getattr(self._station, name)


def lied(**changes: object) -> Callable[[Snapshot], Snapshot]:
    """Change the valid result."""

    def lie(shown: Snapshot) -> Snapshot:
        if shown.result is None:
            return shown
        return replace(shown, result=replace(shown.result, **changes))

    return lie


def simulated(lie: Callable[[Snapshot], Snapshot], **words: object):
    with (
        Station(ThreadWorker(EverySecondIsBad()), options=OPTIONS) as station,
        ModbusBridge(Liar(station, lie), ModbusSection(port=0)) as bridge,
    ):
        station.wait_ready(30)
        options = SimulationOptions(port=bridge.port, cycles=6, scan_ms=1.0, **words)
        return simulate_plc(options, say=lambda _line: None)


def test_a_true_station_passes() -> None:
    seen = simulated(lambda shown: shown, timeout_s=30.0, recipe=2)
    assert seen.good
    assert (seen.cycles, seen.accepted, seen.rejected, seen.undecided) == (6, 3, 3, 0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"trigger_id": 77}, "mismatched"),
        ({"part_id": 9}, "mismatched"),
        ({"seq": 5}, "duplicates"),
    ],
)
def test_what_is_another_part_s_is_rejected_and_counted(changes, what) -> None:
    seen = simulated(lied(**changes), timeout_s=30.0)
    assert not seen.good
    assert getattr(seen, what) >= 5
    if what == "mismatched":
        assert seen.accepted == 0


def test_a_result_that_is_there_before_the_trigger_is_stale() -> None:
    kept = []

    def lie(shown: Snapshot) -> Snapshot:
        if shown.result is not None:
            kept.append(shown.result)
        return replace(shown, result=kept[-1], valid=True) if kept and shown.ready else shown

    seen = simulated(lie, timeout_s=0.5)
    assert not seen.good
    assert seen.stale >= 5


def test_silence_is_a_reject() -> None:
    seen = simulated(
        lambda shown: replace(shown, valid=False, result=None) if shown.result else shown,
        timeout_s=0.2,
    )
    assert (seen.accepted, seen.good) == (0, False)


def test_an_undecided_part_is_no_fault_of_the_link() -> None:
    seen = simulated(
        lied(evaluation=ResultEvaluation.UNDEFINED, error=ErrorCode.DEADLINE), timeout_s=30.0
    )
    assert seen.good
    assert seen.rejected == 6


def test_a_heartbeat_that_stands_still_rejects(monkeypatch) -> None:
    import edge.plc.simulate as module

    monkeypatch.setattr(module, "HEARTBEAT_STALE_S", 0.0)
    seen = simulated(lambda shown: replace(shown, heartbeat=7), timeout_s=30.0)
    assert seen.accepted == 0


def test_a_recipe_that_is_refused_is_said() -> None:
    with pytest.raises(StationError, match="recipe 5: refused: error 21 UNKNOWN_RECIPE"):
        simulated(lambda shown: shown, timeout_s=30.0, recipe=5)
