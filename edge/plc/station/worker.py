"""What inspects for a station: a thread of this process, or a process of its own."""

from __future__ import annotations

from typing import Protocol

from edge.plc.station.messages import Answer, Job, Order, Recipe
from edge.plc.station.snapshot import ErrorCode


class Events(Protocol):
    """What a worker tells its station; any thread may call."""

    def worker_ready(self, recipe: Recipe) -> None:
        """It is loaded, warm and idle."""
        ...

    def worker_answer(self, answer: Answer) -> None:
        """It is through with a job, and idle."""
        ...

    def worker_changed(self, recipe: Recipe, error: ErrorCode, reason: str) -> None:
        """It is through with a change of recipe, and idle with the recipe that it has now."""
        ...

    def worker_lost(self, code: ErrorCode, reason: str) -> None:
        """It is gone."""
        ...

    def worker_restarted(self) -> None:
        """Another is being started."""
        ...


class Worker(Protocol):
    """Carries out orders, one at a time."""

    def start(self, events: Events) -> None:
        """Begin; returns at once and tells when it is ready."""
        ...

    def order(self, order: Order) -> None:
        """Take an order; never waits, and never calls back before it returns."""
        ...

    def close(self) -> None:
        """Stop and release everything; a second call does nothing."""
        ...


class PartInspector(Protocol):
    """Inspects parts; used by one thread alone."""

    def load(self, recipe_id: int) -> Recipe:
        """Load a recipe and warm it up; if it raises, what was loaded before is still there.

        Raises:
            JudgeError: it cannot be loaded, or does not pass its test.
        """
        ...

    def inspect(self, job: Job) -> Answer:
        """Take a picture and judge it; what goes wrong is in the answer."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class RecipeError(RuntimeError):
    """A recipe cannot be loaded; `code` says why to a PLC."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.RECIPE_REFUSED) -> None:
        super().__init__(message)
        self.code = code
