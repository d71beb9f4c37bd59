"""A worker that is a thread of this process: for programs that embed a station."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial

from edge.plc.station.messages import Answer, Change, Job, Order, Recipe
from edge.plc.station.snapshot import ErrorCode, ResultEvaluation
from edge.plc.station.worker import Events, PartInspector, RecipeError
from process.threads import GuardedThread

LOG = logging.getLogger("edge.plc.station")
CLOSE_AFTER_S = 5.0


class ThreadWorker:
    """One thread that loads and inspects.

    It cannot be killed: an inspection that never ends leaves the station in FAULT.

    Args:
        judge: inspects; closed with the worker.
        recipe_id: what it loads first.
        close_after_s: how long `close` waits for an inspection to finish.
    """

    def __init__(
        self, inspector: PartInspector, *, recipe_id: int = 1, close_after_s: float = CLOSE_AFTER_S
    ) -> None:
        self._inspector = inspector
        self._close_after_s = close_after_s
        self._recipe_id = recipe_id
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._thread: GuardedThread | None = None

    def start(self, events: Events) -> None:
        """See `Worker.start`."""

        def fail(error: BaseException) -> None:
            events.worker_lost(ErrorCode.WORKER_LOST, f"{type(error).__name__}: {error}")

        self._thread = GuardedThread(
            partial(self._run, events), name="edge-worker", on_failure=fail, goes_on=False
        )
        self._thread.start()

    def order(self, order: Order) -> None:
        """See `Worker.order`; a thread cannot be replaced, so `Replace` is ignored."""
        if isinstance(order, Job | Change):
            self._orders.put(order)

    def close(self) -> None:
        """See `Worker.close`; an inspection that hangs is abandoned after some seconds."""
        self._orders.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._close_after_s)
            if self._thread.is_alive():
                LOG.warning("the worker did not stop; abandoning its thread")

    def _run(self, events: Events) -> None:
        try:
            recipe = self._first(events)
            while recipe is not None:
                order = self._orders.get()
                if order is None:
                    return
                if isinstance(order, Job):
                    events.worker_answer(answer_from_inspector(self._inspector, order))
                elif isinstance(order, Change):
                    recipe, error, reason = change_recipe(
                        self._inspector, order, recipe, lambda share: events.worker_compiles()
                    )
                    events.worker_changed(recipe, error, reason)
        finally:
            self._inspector.close()

    def _first(self, events: Events) -> Recipe | None:
        try:
            recipe = load_recipe(
                self._inspector, self._recipe_id, lambda share: events.worker_compiles()
            )
        except RecipeError as error:
            events.worker_lost(ErrorCode.WORKER_START, str(error))
            return None
        events.worker_ready(recipe)
        return recipe


def load_recipe(
    inspector: PartInspector, recipe_id: int, progress: Callable[[float], None]
) -> Recipe:
    """Load a recipe; an unexpected error refuses it, and is in the log.

    Raises:
        RecipeError: it cannot be loaded, for whatever reason.
    """
    try:
        return inspector.load(recipe_id, progress)
    except RecipeError:
        raise
    except Exception as error:
        LOG.exception("recipe %d could not be loaded", recipe_id)
        reason = f"recipe {recipe_id}: {type(error).__name__}: {error}"
        raise RecipeError(reason) from error


def change_recipe(
    inspector: PartInspector,
    change: Change,
    before: Recipe,
    progress: Callable[[float], None],
) -> tuple[Recipe, ErrorCode, str]:
    """Load another recipe; return the one now loaded, and why it is still the one before."""
    try:
        return load_recipe(inspector, change.recipe_id, progress), ErrorCode.NONE, ""
    except RecipeError as error:
        return before, error.code, str(error)


def answer_from_inspector(inspector: PartInspector, job: Job) -> Answer:
    """Inspect; an unexpected error rejects this part alone, and is in the answer and the log."""
    try:
        return inspector.inspect(job)
    except Exception as error:  # the border: a part is rejected and the worker goes on
        LOG.exception("an inspection failed")
        reason = f"{type(error).__name__}: {error}"
        return Answer(job.seq, ResultEvaluation.NOT_DECIDABLE, ErrorCode.ENGINE, reason)
