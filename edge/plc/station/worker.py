"""What inspects for a station: a thread of this process, or a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.plc.station.messages import Answer, Job, Order, Recipe
from edge.plc.station.snapshot import ErrorCode


class Events(Protocol):
    """What a worker reports to its station; any thread may call."""

    def worker_ready(self, recipe: Recipe) -> None:
        """The worker is loaded, warm and idle."""
        ...

    def worker_answer(self, answer: Answer) -> None:
        """The worker has finished a job and is idle."""
        ...

    def worker_changed(self, recipe: Recipe, error: ErrorCode, reason: str) -> None:
        """The worker has changed its recipe, or kept the one it had, and is idle."""
        ...

    def worker_swapped(self, recipe: Recipe) -> None:
        """The recipe's bundle was made anew, and has taken over between two parts."""
        ...

    def worker_lost(self, code: ErrorCode, reason: str) -> None:
        """The worker is gone."""
        ...

    def worker_compiles(self) -> None:
        """The worker still compiles the plan of the recipe that it loads, and has moved on."""
        ...

    def worker_restarted(self) -> None:
        """Another worker is being started."""
        ...


class Worker(Protocol):
    """Carries out orders, one at a time."""

    def start(self, events: Events) -> None:
        """Begin; return at once, and report when it is ready."""
        ...

    def order(self, order: Order) -> None:
        """Take an order; never wait, and never call back before returning."""
        ...

    def close(self) -> None:
        """Stop and release everything; a second call does nothing."""
        ...


class PartInspector(Protocol):
    """Inspects parts; used by one thread alone."""

    def load(self, recipe_id: int, progress: Callable[[float], None]) -> Recipe:
        """Load a recipe and warm it up; if that fails, the one before stays loaded.

        Args:
            recipe_id: of the recipe.
            progress: receives the share of a plan's compilation that is done: a sign of life.

        Raises:
            RecipeError: it cannot be loaded, or fails its self-test.
        """
        ...

    def inspect(self, job: Job) -> Answer:
        """Take a picture and inspect it; the answer says what went wrong."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class RecipeError(RuntimeError):
    """A recipe cannot be loaded; `code` tells a PLC why."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.RECIPE_REFUSED) -> None:
        super().__init__(message)
        self.code = code
