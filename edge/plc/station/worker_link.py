"""What a station and the process of its worker say to each other; see `cameras.child_link`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.plc.station.messages import Answer, Change, Job, Recipe
from edge.plc.station.snapshot import ErrorCode


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker is told first.

    Attributes:
        judge: keywords of `JudgeOptions`.
        recipe_id: what it loads first.
    """

    judge: dict[str, Any]
    recipe_id: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker is loaded, warm and idle."""

    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Changed:
    """The worker is through with a change of recipe."""

    recipe: Recipe
    error: ErrorCode
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot begin, and ends."""

    code: ErrorCode
    reason: str


TO_WORKER = (WorkerSetup, Job, Change)
FROM_WORKER = (Ready, Answer, Changed, Failed)
