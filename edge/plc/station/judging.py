"""How a worker shall judge; light, so that a station need not import what inspects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How parts are judged.

    Attributes:
        recipes: bundles by their id.
        source: what `cameras.connect.open_source` takes; files begin anew at their end.
        engine: ``auto`` or the name of one.
        warm_up: inspections in a row that have to keep the deadline before a recipe is used.
        deadline_ms: that they have to keep.
        settle_ms: a live picture counts from so long after the trigger: a camera's pictures come
            later than they were taken.
        stall_after_s: a camera that gives no picture for so long gives none.
        self_test_s: seconds between two tests with the golden images; 0 = at the start alone.
    """

    recipes: Mapping[int, str]
    source: str
    engine: str = "auto"
    warm_up: int = 5
    deadline_ms: float = 1000.0
    settle_ms: float = 0.0
    stall_after_s: float = 1.0
    self_test_s: float = 600.0
