"""A worker that is a process of its own: it may be killed, hang or crash, and the station goes on.

One thread starts it, reads what it says, reaps it, and starts it again with growing pauses.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cameras.child_process import reap
from edge.plc.station.messages import Answer, Change, JudgeOptions, Order, Replace
from edge.plc.station.snapshot import ErrorCode
from edge.plc.station.worker import Events
from edge.plc.station.worker_link import (
    Beat,
    Changed,
    Failed,
    Message,
    Ready,
    Wire,
    WireError,
    WorkerSetup,
    wire_pair,
)

LOG = logging.getLogger("edge.plc.station")
COMMAND = (sys.executable, "-m", "edge.plc.station.worker_process")
PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)
HEALTHY_S = 10.0
CLOSE_AFTER_S = 2.0
POLLS = 5  # looks at the clock before a silence is too long


@dataclass(slots=True)
class _Child:
    """A running worker."""

    process: subprocess.Popen[bytes]
    wire: Wire
    born_s: float
    heard_s: float
    ready: bool = False
    loading: bool = True  # a graph being compiled may hold up everything else in it
    loss_reported: bool = False
    kill_reason: str = ""  # once there is one, what the worker still says no longer counts


@dataclass(frozen=True, slots=True)
class _End:
    """Why a worker ended, and whether the station already knows."""

    code: ErrorCode
    reason: str
    reported: bool = False


class ProcessWorker:
    """Starts, watches and restarts the process that inspects.

    Args:
        judge: what it shall judge with.
        recipe_id: what it loads first; after a restart, what it had.
        start_after_s: not ready within this time, it is killed and started again.
        silent_after_s: without a sign of life for so long, it is killed and started again.
        command: what is started; the number of its socket is appended.
    """

    def __init__(
        self,
        judge: JudgeOptions,
        *,
        recipe_id: int = 1,
        start_after_s: float = 120.0,
        silent_after_s: float = 0.75,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._judge = judge
        self._recipe_id = recipe_id
        self._start_after_s = start_after_s
        self._silent_after_s = silent_after_s
        self._command = tuple(command)
        self._child: _Child | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now; None between two."""
        child = self._child
        return child.process.pid if child is not None else None

    def start(self, events: Events) -> None:
        """See `Worker.start`."""
        self._thread = threading.Thread(
            target=self._run, args=(events,), name="edge-supervisor", daemon=True
        )
        self._thread.start()

    def order(self, order: Order) -> None:
        """See `Worker.order`; what cannot be delivered kills the worker, so that it is noticed."""
        child = self._child
        if child is None:
            return
        if isinstance(order, Replace):
            _kill(child, order.reason)
        else:
            child.loading = isinstance(order, Change)
            if not child.wire.send(order, wait=False):
                _kill(child, "the worker takes no orders")

    def close(self) -> None:
        """See `Worker.close`; a worker that does not end in time is killed."""
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, events: Events) -> None:
        attempt = 0
        while not self._closing.is_set():
            began = time.monotonic()
            end = self._run_once(events)
            if self._closing.is_set():
                return
            LOG.error("%s; it is started again", end.reason)
            if not end.reported:
                events.worker_lost(end.code, end.reason)
            attempt = 0 if time.monotonic() - began > HEALTHY_S else attempt
            if self._closing.wait(PAUSES_S[min(attempt, len(PAUSES_S) - 1)]):
                return
            attempt += 1
            events.worker_restarted()

    def _run_once(self, events: Events) -> _End:
        """One life of the worker; why it ended."""
        try:
            child = self._start_child()
        except OSError as error:
            return _End(ErrorCode.WORKER_START, f"the worker cannot be started: {error}")
        self._child = child
        try:
            child.wire.send(WorkerSetup(asdict(self._judge), self._recipe_id))
            failure = self._listen(child, events)
        finally:
            self._child = None
            status = _end(child)
        if failure is not None:
            return failure
        if child.kill_reason:
            return _End(ErrorCode.WORKER_HUNG, child.kill_reason, child.loss_reported)
        return _End(ErrorCode.WORKER_LOST, f"the worker ended: {status}")

    def _start_child(self) -> _Child:
        ours, theirs = wire_pair()
        try:
            process = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _is_file(sys.stderr) else subprocess.DEVNULL,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        now = time.monotonic()
        return _Child(process, Wire(ours), born_s=now, heard_s=now)

    def _listen(self, child: _Child, events: Events) -> _End | None:
        """Pass on what the worker says until it is gone; return why it failed, if it said so."""
        failure: _End | None = None
        while not self._closing.is_set():
            try:
                message = child.wire.receive(self._silent_after_s / POLLS)
            except EOFError:
                return failure
            except WireError as error:
                _kill(child, f"the worker sent an unreadable message: {error}")
                continue
            if isinstance(message, Failed):
                failure = _End(message.code, message.reason)
            elif message is not None and not child.kill_reason:
                self._pass_on(child, message, events)
            reason = self._find_kill_reason(child, silent=message is None)
            if reason and not child.kill_reason:
                _kill(child, reason)
                child.loss_reported = True
                events.worker_lost(ErrorCode.WORKER_HUNG, reason)  # the end may keep us waiting
        return failure

    def _find_kill_reason(self, child: _Child, *, silent: bool) -> str:
        """Why the worker has to be killed, or an empty string.

        It is silent only if nothing waits to be read: this process may have been held up too.
        """
        now = time.monotonic()
        if not silent:
            child.heard_s = now
        elif not child.loading and now - child.heard_s >= self._silent_after_s:
            return f"the worker gave no sign of life for {self._silent_after_s:g} s"
        if not child.ready and now - child.born_s > self._start_after_s:
            return f"the worker was not ready within {self._start_after_s:g} s"
        return ""

    def _pass_on(self, child: _Child, message: Message, events: Events) -> None:
        if isinstance(message, Beat):
            return
        if isinstance(message, Answer):
            events.worker_answer(message)
        elif isinstance(message, Ready):
            child.ready = True
            child.loading = False
            events.worker_ready(message.recipe)
        elif isinstance(message, Changed):
            child.loading = False
            self._recipe_id = message.recipe.recipe_id
            events.worker_changed(message.recipe, message.error, message.reason)


def _kill(child: _Child, reason: str) -> None:
    """Kill a worker; SIGKILL ends a stopped process too."""
    child.kill_reason = child.kill_reason or reason
    child.process.kill()


def _end(child: _Child) -> str:
    """Close the wire, wait for the end, force it if need be; how it ended, in words."""
    child.wire.close()
    return reap(child.process, patience_s=CLOSE_AFTER_S)


def _is_file(stream: object) -> bool:
    """Whether a stream has a descriptor that another process can write to."""
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
    return True
