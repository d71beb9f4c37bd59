"""A worker that is a process of its own: it may be killed, hang or crash, and the station goes on.

One thread starts it, reads what it says, reaps it, and starts it again with growing pauses.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edge.station.jobs import Answer, Change, Job, Order, Replace
from edge.station.judging import JudgeOptions
from edge.station.wire import (
    Beat,
    Changed,
    Failed,
    Message,
    Plan,
    Ready,
    Wire,
    WireError,
    wire_pair,
)
from edge.station.words import ErrorCode
from edge.station.worker import Events

LOG = logging.getLogger("edge.station")
COMMAND = (sys.executable, "-m", "edge.station.child")
PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
HEALTHY_S = 30.0
CLOSE_AFTER_S = 2.0
POLL_S = 0.5


@dataclass(slots=True)
class _Child:
    """A running worker."""

    process: subprocess.Popen[bytes]
    wire: Wire
    born_s: float
    ready: bool = False
    condemned: str = ""  # why it is killed; what it still says counts no more


class ProcessWorker:
    """Starts, watches and restarts the process that inspects.

    Args:
        judge: what it shall judge with.
        recipe_id: what it loads first; after a restart, what it had.
        start_after_s: not ready within this time, it is killed and started again.
        command: what is started; the number of its socket is appended.
    """

    def __init__(
        self,
        judge: JudgeOptions,
        *,
        recipe_id: int = 1,
        start_after_s: float = 120.0,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._judge = judge
        self._recipe_id = recipe_id
        self._start_after_s = start_after_s
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
            _condemn(child, order.reason)
        elif isinstance(order, Job | Change) and not child.wire.send(order, wait=False):
            _condemn(child, "the worker takes no orders")

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
            code, reason = self._live(events)
            if self._closing.is_set():
                return
            LOG.error("%s; it is started again", reason)
            events.worker_lost(code, reason)
            attempt = 0 if time.monotonic() - began > HEALTHY_S else attempt
            if self._closing.wait(PAUSES_S[min(attempt, len(PAUSES_S) - 1)]):
                return
            attempt += 1
            events.worker_restarted()

    def _live(self, events: Events) -> tuple[ErrorCode, str]:
        """One life of the worker; why it ended."""
        try:
            child = self._born()
        except OSError as error:
            return ErrorCode.WORKER_START, f"the worker cannot be started: {error}"
        self._child = child
        try:
            child.wire.send(Plan(asdict(self._judge), self._recipe_id))
            failure = self._listen(child, events)
        finally:
            self._child = None
            status = _ended(child)
        if failure is not None:
            return failure
        if child.condemned:
            return ErrorCode.WORKER_HUNG, child.condemned
        return ErrorCode.WORKER_LOST, f"the worker ended: {status}"

    def _born(self) -> _Child:
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
        return _Child(process, Wire(ours), time.monotonic())

    def _listen(self, child: _Child, events: Events) -> tuple[ErrorCode, str] | None:
        """Pass on what the worker says until it is gone; why it failed, if it told."""
        failure: tuple[ErrorCode, str] | None = None
        while not self._closing.is_set():
            try:
                message = child.wire.receive(POLL_S)
            except EOFError:
                return failure
            except WireError as error:
                _condemn(child, f"the worker talks nonsense: {error}")
                continue
            if isinstance(message, Failed):
                failure = (message.code, message.reason)
            elif message is not None and not child.condemned:
                self._tell(child, message, events)
            late = time.monotonic() - child.born_s > self._start_after_s
            if late and not child.ready and not child.condemned:
                _condemn(child, f"the worker was not ready within {self._start_after_s:g} s")
        return failure

    def _tell(self, child: _Child, message: Message, events: Events) -> None:
        if isinstance(message, Beat):
            events.worker_beat()
        elif isinstance(message, Answer):
            events.worker_answer(message)
        elif isinstance(message, Ready):
            child.ready = True
            events.worker_ready(message.recipe)
        elif isinstance(message, Changed):
            self._recipe_id = message.recipe.recipe_id
            events.worker_changed(message.recipe, message.error, message.reason)


def _condemn(child: _Child, reason: str) -> None:
    """Kill a worker; SIGKILL ends a stopped process too."""
    child.condemned = child.condemned or reason
    child.process.kill()


def _ended(child: _Child) -> str:
    """Close the wire, wait for the end, force it if need be; how it ended, in words."""
    child.wire.close()
    try:
        status = child.process.wait(CLOSE_AFTER_S)
    except subprocess.TimeoutExpired:
        child.process.kill()
        status = child.process.wait()
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _is_file(stream: object) -> bool:
    """Whether a stream has a descriptor that another process can write to."""
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
    return True
