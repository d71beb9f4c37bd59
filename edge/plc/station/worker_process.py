"""The worker's process; `edge.plc.station.process_worker` starts it, nobody else."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial

from cameras.child_link import Link
from cameras.parent_link import connect_to_parent
from edge.given import GivenSettings
from edge.plc.station.messages import (
    TO_WORKER,
    Change,
    Changed,
    Compiling,
    Failed,
    Job,
    JudgeOptions,
    Ready,
    Recipe,
    SourceTrouble,
    ThreadFailed,
    WorkerSetup,
)
from edge.plc.station.snapshot import ErrorCode
from edge.plc.station.thread_worker import answer_from_inspector, change_recipe, load_recipe
from edge.plc.station.worker import PartInspector, RecipeError
from process.threads import FAILURES, Failure, GuardedThread

TELL_EVERY_S = 0.5
FAILED = 3
"""Exit status of a worker that has told why it cannot begin."""


def main(arguments: list[str]) -> int:
    """Inspect until the station is gone; the arguments are from `ChildProcess`."""
    link = connect_to_parent(arguments, TO_WORKER).link
    setup = link.receive()
    if not isinstance(setup, WorkerSetup):
        return FAILED

    def tell(thread: str, failure: Failure) -> None:
        link.send(ThreadFailed(thread, failure.reason, failure.goes_on), wait=False)

    FAILURES.listen(tell)
    from edge.plc.station.inspector_judge import InspectorJudge  # OpenCV takes its time

    recipes = {int(key): path for key, path in setup.judge["recipes"].items()}
    given = GivenSettings.from_json(setup.judge["given"])
    options = JudgeOptions(**(setup.judge | {"recipes": recipes, "given": given}))
    judge = InspectorJudge(options)
    over = threading.Event()
    watch = partial(tell_troubles, link, lambda: judge.source_trouble, over)
    GuardedThread(watch, name="edge-source-trouble").start()
    try:
        return serve(link, judge, setup.recipe_id)
    finally:
        over.set()


def serve(link: Link, inspector: PartInspector, recipe_id: int) -> int:
    """Load, then inspect what comes until the station is gone; the exit status."""
    progress = _SignsOfLife(link)
    try:
        try:
            recipe = load_recipe(inspector, recipe_id, progress)
        except RecipeError as error:
            slow = error.code is ErrorCode.TOO_SLOW
            code = ErrorCode.TOO_SLOW if slow else ErrorCode.WORKER_START
            link.send(Failed(code, str(error)))
            return FAILED
        link.send(Ready(recipe))
        return _work(link, inspector, recipe, progress)
    finally:
        inspector.close()


def tell_troubles(link: Link, trouble: Callable[[], str], over: threading.Event) -> None:
    """Tell the station what is wrong with the source as soon as it changes, with a part or not."""
    told = ""
    while not over.wait(TELL_EVERY_S):
        now = trouble()
        if now != told and link.send(SourceTrouble(now), wait=False):
            told = now


class _SignsOfLife:
    """Tells the station now and then that a plan's compilation moves on."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._told_s = -math.inf

    def __call__(self, share: float) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._link.send(Compiling(share), wait=False)


def _work(link: Link, inspector: PartInspector, recipe: Recipe, progress: _SignsOfLife) -> int:
    while True:
        try:
            order = link.receive()
        except EOFError:
            return 0
        if isinstance(order, Job):
            link.send(answer_from_inspector(inspector, order))
        elif isinstance(order, Change):
            recipe, error, reason = change_recipe(inspector, order, recipe, progress)
            link.send(Changed(recipe, error, reason))
