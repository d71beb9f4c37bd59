"""A state machine whose time goes on when the test says so."""

from __future__ import annotations

from dataclasses import replace

from edge.plc.station.messages import Answer, Recipe, StationOptions
from edge.plc.station.snapshot import Control, ResultEvaluation
from edge.plc.station.state_machine import StationMachine

MS = 1_000_000
DEADLINE_MS, HANG_MS, STALL_MS, LOAD_MS = 50, 400, 200, 900
OPTIONS = StationOptions(
    name="line3",
    deadline_ms=DEADLINE_MS,
    stall_after_s=STALL_MS / 1e3,
    hang_after_s=HANG_MS / 1e3,
    load_after_s=LOAD_MS / 1e3,
    recipes=frozenset({1, 2}),
)
RECIPE = Recipe(1, model_hash="ab", threshold=0.5)


class HandClock:
    """Time goes on when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns + 1_700_000_000_000_000_000

    def pass_ms(self, ms: float) -> None:
        self.now_ns += int(ms * MS)


def machine_of(**changes: object) -> tuple[StationMachine, HandClock]:
    clock = HandClock()
    return StationMachine(7, replace(OPTIONS, **changes), clock), clock


def ready_machine(**changes: object) -> tuple[StationMachine, HandClock]:
    machine, clock = machine_of(**changes)
    machine.worker_ready(RECIPE)
    assert machine.snapshot().ready
    return machine, clock


def answer(machine: StationMachine, seq: int, score: float | None = 0.1, **words: object) -> None:
    evaluation = ResultEvaluation.OK if (score or 0) < 0.5 else ResultEvaluation.NOT_OK
    machine.worker_answer(
        Answer(seq, words.pop("evaluation", evaluation), score=score, **words)  # type: ignore[arg-type]
    )


LOW = Control(enable=True)
UP = Control(enable=True, trigger=True, trigger_id=3, part_id=70_000)
ACK = Control(enable=True, acknowledge=True)
