"""A worker that is a process: it may be killed, hang or crash, and the station goes on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType

from cameras.child_process import ChildOptions, ChildProcess, Ending, python_command
from edge.plc.station.messages import (
    FROM_WORKER,
    Answer,
    Change,
    Changed,
    Compiling,
    Decided,
    Drawn,
    Failed,
    JudgeOptions,
    Order,
    Ready,
    RecorderOptions,
    RecordState,
    Replace,
    SourceTrouble,
    Swapped,
    ThreadFailed,
    Watched,
    WorkerSetup,
)
from edge.plc.station.shown_parts import drawn_from_message
from edge.plc.station.snapshot import ErrorCode
from edge.plc.station.worker import Events
from edge.service.shown_pictures import ShownPictures
from process.threads import FAILURES

LOG = logging.getLogger("edge.plc.station")
_CHILD = "the worker"
LOOK_EVERY_S = 1.0
_CODES: Mapping[Ending, ErrorCode] = MappingProxyType(
    {
        Ending.NOT_STARTED: ErrorCode.WORKER_START,
        Ending.KILLED: ErrorCode.WORKER_HUNG,
        Ending.BY_ITSELF: ErrorCode.WORKER_LOST,
    }
)


class ProcessWorker:
    """Starts, watches and restarts the process that inspects.

    Args:
        judge: how it inspects.
        recipe_id: what it loads first; after a restart, what it had.
        start_after_s: not ready within this time, nor with a plan that is being compiled and
            moves on, it is killed and started again.
        silent_after_s: without a sign of life for so long, it is killed and started again.
        recorder: where pictures of parts go; None keeps and shows none.
        command: how it is started; see `ChildOptions.command`.

    Attributes:
        source_trouble: what is wrong with the source although it works; empty if nothing. Any
            thread may ask, here and below.
        records: what the worker cannot write.
        shown: its pictures on the page.
    """

    def __init__(
        self,
        judge: JudgeOptions,
        *,
        recipe_id: int = 1,
        start_after_s: float = 120.0,
        silent_after_s: float = 0.75,
        recorder: RecorderOptions | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self._setup = WorkerSetup(asdict(judge), recipe_id, asdict(recorder) if recorder else None)
        self._failure: Failed | None = None
        self.source_trouble = ""
        self.records = RecordState()
        self._lost_before = 0  # by the workers before this one
        self.shown = ShownPictures(self._tell_look)
        self._looked_s = -math.inf
        self._events: Events
        options = ChildOptions(
            name=_CHILD,
            command=command or python_command("edge.plc.station.worker_process"),
            kinds=FROM_WORKER,
            silent_after_s=silent_after_s,
            load_within_s=start_after_s,
        )
        self._child = ChildProcess(options, self)

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now; None between two."""
        return self._child.process_id

    def start(self, events: Events) -> None:
        """See `Worker.start`."""
        self._events = events
        self._child.start()

    def order(self, order: Order) -> None:
        """See `Worker.order`; what cannot be delivered kills the worker, so that it is noticed."""
        if isinstance(order, Replace):
            self._child.kill(order.reason)
        elif isinstance(order, Decided):
            if not self._child.tell(order):  # a picture, no result
                LOG.warning("%s does not listen; a picture is not kept", _CHILD)
        else:
            # A graph that is compiled may hold up everything else in the process.
            self._child.may_be_silent(while_loading=isinstance(order, Change))
            self._child.send(order)

    def close(self) -> None:
        """See `Worker.close`; a worker that does not end in time is killed."""
        self._child.close()

    # What its process says is passed on to the station; see `ChildHandler`.

    def on_start(self) -> WorkerSetup:
        """See `ChildHandler.on_start`."""
        self._failure = None
        self.source_trouble = ""
        self._lost_before = self.records.not_written
        self.records = RecordState(not_written=self._lost_before)
        FAILURES.forget(_CHILD)
        if self._child.restarts:
            self._events.worker_restarted()
        return self._setup

    def on_message(self, message: object) -> None:
        """See `ChildHandler.on_message`."""
        if isinstance(message, Answer):
            self._events.worker_answer(message)
        elif isinstance(message, ThreadFailed):
            thread = f"{_CHILD}: {message.thread}"
            FAILURES.add(thread, f"{_CHILD}: {message.reason}", goes_on=message.goes_on)
        elif isinstance(message, SourceTrouble):
            self.source_trouble = message.text
        elif isinstance(message, RecordState):
            lost = self._lost_before + message.not_written
            self.records = RecordState(message.trouble, lost)
        elif isinstance(message, Drawn):
            self.shown.put(drawn_from_message(message), rejected=message.rejected)
        elif isinstance(message, Swapped):
            self._events.worker_swapped(message.recipe)
        elif isinstance(message, Compiling):
            self._child.keep_loading()
            self._events.worker_compiles()
        elif isinstance(message, Failed):
            self._failure = message
        elif isinstance(message, Ready):
            self._child.may_be_silent(while_loading=False)
            self._events.worker_ready(message.recipe)
        elif isinstance(message, Changed):
            self._child.may_be_silent(while_loading=False)
            self._setup = replace(self._setup, recipe_id=message.recipe.recipe_id)
            self._events.worker_changed(message.recipe, message.error, message.reason)

    def _tell_look(self) -> None:
        """Let the worker draw: somebody looks."""
        now = time.monotonic()
        if now - self._looked_s >= LOOK_EVERY_S and self._child.tell(Watched()):
            self._looked_s = now

    def on_lost(self, ending: Ending, reason: str) -> None:
        """See `ChildHandler.on_lost`."""
        code = _CODES[ending]
        if self._failure is not None:  # it told why it ends
            code, reason = self._failure.code, self._failure.reason
        LOG.error("%s; restarting it", reason)
        self._events.worker_lost(code, reason)
