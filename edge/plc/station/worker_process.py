"""The worker's process; `edge.plc.station.process_worker` starts it, nobody else."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from cameras.child_link import Link
from cameras.parent_link import connect_to_parent
from edge.given import GivenSettings
from edge.plc.station.messages import (
    TO_WORKER,
    Change,
    Changed,
    Compiling,
    Decided,
    Failed,
    Job,
    JudgeOptions,
    Ready,
    Recipe,
    RecordState,
    SourceTrouble,
    Swapped,
    ThreadFailed,
    Watched,
    WorkerSetup,
)
from edge.plc.station.snapshot import ErrorCode
from edge.plc.station.thread_worker import answer_from_inspector, change_recipe, load_recipe
from edge.plc.station.worker import PartInspector, RecipeError
from process.threads import FAILURES, Failure, GuardedThread

LOG = logging.getLogger("edge.plc.station.worker")
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
    from edge.plc.station.part_recorder import PartRecorder, recorder_options_from_json

    judge = InspectorJudge(_judge_options(setup), on_swap=lambda one: link.send(Swapped(one)))

    def open_recorder() -> PartRecorder:
        assert setup.recorder is not None
        records = recorder_options_from_json(setup.recorder)
        recorder = PartRecorder(records, link, say=LOG.warning)
        judge.on_judged = recorder.hold
        watch(recorder)
        return recorder

    over = threading.Event()

    def watch(told: Told) -> None:
        GuardedThread(partial(tell_troubles, link, told, over), name="edge-troubles").start()

    watch(judge)
    try:
        opens = None if setup.recorder is None else open_recorder
        return serve(link, judge, setup.recipe_id, open_recorder=opens)
    finally:
        over.set()


def _judge_options(setup: WorkerSetup) -> JudgeOptions:
    judge = setup.judge
    from_json = GivenSettings.from_json
    return JudgeOptions(
        **judge
        | {
            "recipes": {int(key): path for key, path in judge["recipes"].items()},
            "given": from_json(judge["given"]),
            "given_of": {int(key): from_json(one) for key, one in judge["given_of"].items()},
        }
    )


class Recorder(Protocol):
    """What takes the pictures of parts that are decided: `PartRecorder`."""

    def keep(self, order: Decided) -> None:
        """Hand on the part that is held."""
        ...

    def note_watched(self) -> None:
        """Somebody looks at the page."""
        ...

    def close(self) -> None:
        """Write what waits."""
        ...


def serve(
    link: Link,
    inspector: PartInspector,
    recipe_id: int,
    *,
    open_recorder: Callable[[], Recorder] | None = None,
) -> int:
    """Load, then inspect what comes until the station is gone; the exit status.

    Args:
        link: to the station.
        inspector: inspects; closed at the end.
        recipe_id: what it loads first.
        open_recorder: opens what takes pictures, once the recipe is loaded; None takes none.
    """
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
        recorder = None if open_recorder is None else open_recorder()
        try:
            return _work(link, inspector, recipe, progress, recorder)
        finally:
            if recorder is not None:
                recorder.close()
    finally:
        inspector.close()


def tell_troubles(link: Link, told_of: Told, over: threading.Event) -> None:
    """Tell the station what changes of a source's troubles or of records, with a part or not."""
    told = type(told_of.state)()  # as the station takes it to be
    while not over.wait(TELL_EVERY_S):
        now = told_of.state
        if now != told and link.send(now, wait=False):
            told = now


class Told(Protocol):
    """What has a state that the station is told."""

    @property
    def state(self) -> SourceTrouble | RecordState:
        """What is wrong now."""
        ...


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


def _work(
    link: Link,
    inspector: PartInspector,
    recipe: Recipe,
    progress: _SignsOfLife,
    recorder: Recorder | None,
) -> int:
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
        elif isinstance(order, Decided) and recorder is not None:
            recorder.keep(order)
        elif isinstance(order, Watched) and recorder is not None:
            recorder.note_watched()
