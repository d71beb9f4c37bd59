"""A station: the state machine with a worker, a lock and a clock; any thread may call it.

It blocks nobody: questions are answered at once from what is known, a thread of its own keeps the
deadlines, and another calls the listeners.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import NoReturn, ParamSpec, TypeVar

from edge.plc.station.listeners import Listeners
from edge.plc.station.messages import NS_PER_S, Answer, Recipe, StationOptions
from edge.plc.station.port import Cancel, Listener, ResultListener
from edge.plc.station.snapshot import (
    SEQUENCE_WORDS,
    CommandState,
    Control,
    ErrorCode,
    InspectionResult,
    Snapshot,
    StationError,
)
from edge.plc.station.state_machine import StationMachine
from edge.plc.station.worker import Worker
from process.forks import Birthplace, refuse_to_pickle
from process.threads import GuardedThread

Given = ParamSpec("Given")
Returned = TypeVar("Returned")
LOOK_S = 1.0  # between looks at the clock when nothing is awaited


class Station(AbstractContextManager["Station"]):
    """The handshake around an inspector; a `Port`, released by `close` or at the end of `with`.

    It has three forms: `inspect` waits, `inspect_async` waits without blocking the event loop,
    `submit` returns a future with `add_done_callback`.

    Args:
        worker: inspects; started here and closed with the station.
        options: name, deadline, and when a worker counts as hung.
    """

    def __init__(self, worker: Worker, *, options: StationOptions | None = None) -> None:
        self._birthplace = Birthplace()
        self._machine = StationMachine(
            secrets.randbelow(SEQUENCE_WORDS) + 1, options or StationOptions()
        )
        self._worker = worker
        self._lock = threading.Condition(threading.Lock())
        self._revision_told = self._machine.revision
        self._parts: dict[int, Future[InspectionResult]] = {}
        self._waiting: list[tuple[Callable[[Snapshot], bool], Future[Snapshot]]] = []
        self._listeners = Listeners()
        self._closed = False
        self._timer = GuardedThread(self._watch, name="edge-timer")
        self._timer.start()
        worker.start(self)

    # What bridges ask: see `Port`.

    def snapshot(self) -> Snapshot:
        """Return everything there is to show now."""
        return self._do(self._machine.snapshot)

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        """Take the levels that a PLC sets; see `Port.control`."""
        return self._do(self._machine.control, control, source=source)

    def trigger(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> int | None:
        """Start an inspection; see `Port.trigger`."""
        return self._do(
            self._machine.trigger, trigger_id=trigger_id, part_id=part_id, deadline_ms=deadline_ms
        )

    def acknowledge(self, seq: int | None = None) -> bool:
        """Acknowledge and clear the result; see `Port.acknowledge`."""
        return self._do(self._machine.acknowledge, seq)

    def reset(self) -> None:
        """Clear a fault and what was latched."""
        self._do(self._machine.reset)

    def recipe(self, recipe_id: int) -> bool:
        """Begin to change the recipe; False if it is not possible now."""
        return self._do(self._machine.recipe, recipe_id)

    def on_result(self, listener: ResultListener) -> Cancel:
        """Call a listener once for each result, in order; see `Port.on_result`."""
        return self._listeners.on_result(listener)

    def on_change(self, listener: Listener) -> Cancel:
        """Call a listener whenever anything but the heartbeat has changed."""
        return self._listeners.on_change(listener)

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until every listener has seen what was decided so far; see `Port.flush`."""
        return self._listeners.flush(timeout_s)

    # The three forms of an inspection.

    def submit(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> Future[InspectionResult]:
        """Trigger; the future gets the result, which counts as acknowledged then.

        Its callbacks run in a thread of the station and must return at once.

        Raises:
            StationError: not ready; counted as missed.
            ValueError: an id or a deadline out of range.
        """
        return self._do(self._submit, trigger_id, part_id, deadline_ms)

    def inspect(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> InspectionResult:
        """Trigger and wait for the result, which counts as acknowledged then.

        Raises:
            StationError: not ready; counted as missed.
            ValueError: an id or a deadline out of range.
        """
        part = self.submit(trigger_id=trigger_id, part_id=part_id, deadline_ms=deadline_ms)
        return part.result()

    async def inspect_async(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> InspectionResult:
        """`inspect` without blocking the event loop."""
        part = self.submit(trigger_id=trigger_id, part_id=part_id, deadline_ms=deadline_ms)
        return await asyncio.shield(asyncio.wrap_future(part))

    # Waiting.

    def when(self, condition: Callable[[Snapshot], bool]) -> Future[Snapshot]:
        """A future of the first snapshot for which a condition holds; fails at `close`.

        Args:
            condition: quick, and of the snapshot alone.
        """
        future: Future[Snapshot] = Future()

        def begin() -> None:
            if self._closed:
                raise StationError("the station is closed; open another")
            self._waiting.append((condition, future))
            self._revision_told = -1  # so that it is looked at now

        self._do(begin)
        return future

    def wait_ready(self, timeout_s: float | None = None) -> Snapshot:
        """Wait until a trigger would be accepted.

        Raises:
            StationError: it is not within the time, or it is closed.
        """
        future = self.when(lambda shown: shown.ready)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            shown = self.snapshot()
            why = shown.reason or shown.offline_reason.name.lower()
            raise StationError(
                f"{shown.station}: not ready within {timeout_s} s: {shown.phase}, {why}"
            ) from None

    async def recipe_async(self, recipe_id: int) -> ErrorCode:
        """Change the recipe and wait until it is loaded; NONE, or why it was not."""
        if not self.recipe(recipe_id):
            return self.snapshot().command_error or ErrorCode.NOT_NOW
        done = self.when(lambda shown: shown.command is not CommandState.EXECUTING)
        return (await asyncio.wrap_future(done)).command_error

    def close(self) -> None:
        """Go offline, stop the worker and all threads; a second call does nothing.

        Earlier results, and that of the part that this ends, still reach every listener; a slow
        one has two seconds.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left, self._waiting = self._waiting, []
        self._do(self._machine.close)
        self._worker.close()
        if self._timer is not threading.current_thread():
            self._timer.join()
        for _, future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(StationError("the station was closed"))
        self._listeners.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        refuse_to_pickle("a station", "make it in the process that uses it")

    # What the worker reports: see `Events`.

    def worker_ready(self, recipe: Recipe) -> None:
        """See `Events`."""
        self._do(self._machine.worker_ready, recipe)

    def worker_answer(self, answer: Answer) -> None:
        """See `Events`."""
        self._do(self._machine.worker_answer, answer)

    def worker_changed(self, recipe: Recipe, error: ErrorCode, reason: str) -> None:
        """See `Events`."""
        self._do(self._machine.worker_changed, recipe, error, reason)

    def worker_swapped(self, recipe: Recipe) -> None:
        """See `Events`."""
        self._do(self._machine.worker_swapped, recipe)

    def worker_lost(self, code: ErrorCode, reason: str) -> None:
        """See `Events`."""
        self._do(self._machine.worker_lost, code, reason)

    def worker_compiles(self) -> None:
        """See `Events`."""
        self._do(self._machine.worker_compiles)

    def worker_restarted(self) -> None:
        """See `Events`."""
        self._do(self._machine.worker_restarted)

    # Within.

    def _submit(
        self, trigger_id: int, part_id: int, deadline_ms: float | None
    ) -> Future[InspectionResult]:
        seq = self._machine.trigger(trigger_id=trigger_id, part_id=part_id, deadline_ms=deadline_ms)
        if seq is None:
            shown = self._machine.snapshot()
            why = f" ({shown.reason})" if shown.reason else ""
            raise StationError(f"{shown.station}: not ready: {shown.phase}{why}; wait for ready")
        future: Future[InspectionResult] = Future()
        future.set_running_or_notify_cancel()  # a part that has begun cannot be cancelled
        self._parts[seq] = future
        return future

    def _do(
        self, act: Callable[Given, Returned], *words: Given.args, **named: Given.kwargs
    ) -> Returned:
        """Act on the machine, pass its orders to the worker, and tell whoever is waiting."""
        elsewhere = self._birthplace.why_not_here()
        if elsewhere:
            raise StationError(f"the station was {elsewhere}")
        later: list[Callable[[], None]] = []
        try:
            with self._lock:
                try:
                    return act(*words, **named)
                finally:
                    self._hand_out(later)
        finally:
            # Futures wake up others, and their callbacks may call us: after the lock.
            for settle in later:
                settle()

    def _hand_out(self, later: list[Callable[[], None]]) -> None:
        """Pass orders to the worker, results and changes to listeners; under the lock."""
        machine = self._machine
        orders, machine.orders = machine.orders, []
        results, machine.results = machine.results, []
        for order in orders:
            self._worker.order(order)
        for result in results:
            self._listeners.tell(result)
            part = self._parts.pop(result.seq, None)
            if part is not None:
                machine.acknowledge(result.seq)
                later.append(_setter(part, result))
        if machine.revision != self._revision_told:
            self._revision_told = machine.revision
            shown = machine.show()
            self._listeners.tell(shown)
            if self._waiting:
                self._find_met(shown, later)
            self._lock.notify_all()

    def _find_met(self, shown: Snapshot, later: list[Callable[[], None]]) -> None:
        """Find the futures whose condition holds now."""
        met = [pair for pair in self._waiting if pair[1].cancelled() or pair[0](shown)]
        if met:
            self._waiting = [pair for pair in self._waiting if pair not in met]
            later.extend(_setter(future, shown) for _, future in met)

    def _watch(self) -> None:
        """Let deadlines pass in time, even if nobody asks."""
        while not self._closed:
            self._do(self._machine.catch_up)
            with self._lock:
                due = self._machine.due_ns()
                wait = LOOK_S
                if due is not None:
                    wait = (due - time.monotonic_ns()) / NS_PER_S
                if not self._closed and wait > 0:
                    self._lock.wait(min(wait, LOOK_S))


def _setter(future: Future[Returned], value: Returned) -> Callable[[], None]:
    """Return what sets a future's result, unless it was cancelled meanwhile."""

    def settle() -> None:
        if future.running() or future.set_running_or_notify_cancel():
            future.set_result(value)

    return settle
