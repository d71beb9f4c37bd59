"""An engine that outlives its GPU's failures: closed, opened again with back-off, never a crash.

While there is no engine every call fails at once with an `EngineError`, so a line gets ERROR for
each part and never waits. Opening happens beside the line, in a thread of its own.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from engines.cuda import DeviceLostError
from engines.engine import Engine, Images, Output, PipelinedEngine, Ticket, say_nothing
from engines.errors import EngineError
from process.threads import GuardedThread

T = TypeVar("T")
WAITS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds from a failure to the next try, the last one for ever: a GPU that comes back after an
hour is taken up again."""
CLOSING_S = 3.0
"""How long closing waits for a try that is under way; what it opens later is closed at once."""


class ReopeningEngine(AbstractContextManager["ReopeningEngine"]):
    """A `PipelinedEngine` that is opened again when its GPU was lost.

    Args:
        open_engine: makes the engine; called at birth in the caller's thread, later in another. It
            is given what to tell of a compilation's progress, which raises to stop it.
        say: receives a line for each failure and each success.
        progress: receives the share of the first compilation that is done. Nobody watches later
            ones: they are beside the line.
        clock: seconds that only go forward.

    Raises:
        EngineError: the first one can't be opened.
    """

    def __init__(
        self,
        open_engine: Callable[[Callable[[float], None] | None], PipelinedEngine],
        *,
        say: Callable[[str], None] | None = None,
        progress: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_engine
        self._say = say or say_nothing
        self._clock = clock
        self._lock = threading.Lock()
        self._check: Callable[[Engine], None] | None = None
        self._thread: GuardedThread | None = None
        self._tries = 0
        self._due = 0.0
        self._why = ""
        self._closed = False
        self._numbers = itertools.count()
        self._tickets: dict[Ticket, tuple[PipelinedEngine, Ticket]] = {}
        self._engine: PipelinedEngine | None = open_engine(progress)
        self._describe(self._engine)

    def check_with(self, check: Callable[[Engine], None]) -> None:
        """Have each later engine tested before it is used.

        Args:
            check: raises `EngineError` if the engine must not be used; called in another thread.
        """
        self._check = check

    def infer(self, images: Images) -> tuple[Output, ...]:
        """See `Engine.infer`.

        Raises:
            EngineError: as the engine's own, or there is none now; says when the next try is.
        """
        return self._run(self._current(), lambda engine: engine.infer(images))

    def submit(self, images: Images) -> Ticket:
        """See `PipelinedEngine.submit`."""
        engine = self._current()
        inner = self._run(engine, lambda engine: engine.submit(images))
        with self._lock:
            ticket = Ticket(next(self._numbers))
            self._tickets[ticket] = (engine, inner)
        return ticket

    def collect(self, ticket: Ticket) -> tuple[Output, ...]:
        """See `PipelinedEngine.collect`; a ticket of a lost engine is lost with it."""
        with self._lock:
            found = self._tickets.pop(ticket, None)
            now = self._engine
        if found is None:
            raise EngineError(f"{self.name}: ticket {ticket} is not in flight; collect it once")
        engine, inner = found
        if engine is not now:
            raise EngineError(f"{self.name}: ticket {ticket} was lost with the GPU: {self._why}")
        return self._run(engine, lambda engine: engine.collect(inner))

    def close(self) -> None:
        """Release the engine; a second call does nothing.

        A try that is under way is told to stop, and is waited for as long as `CLOSING_S`.
        """
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join(CLOSING_S)
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _describe(self, engine: PipelinedEngine) -> None:
        self.name: str = engine.name
        self.device: str = engine.device
        self.launches: str = getattr(engine, "launches", "")  # of engines on an NVIDIA GPU
        self.executes: str = engine.executes
        self.outputs: Sequence[str] = engine.outputs
        self.size: tuple[int, int] = engine.size
        self.batch: int = engine.batch
        self.slots: int = engine.slots

    def _current(self) -> PipelinedEngine:
        """The engine; begins a try if there is none and one is due."""
        with self._lock:
            if self._closed:
                raise EngineError(f"{self.name}: the engine is closed; open it again")
            if self._engine is not None:
                return self._engine
            left = self._due - self._clock()
            if self._thread is None and left <= 0:
                # A daemon: a driver that hangs must not keep the process from ending.
                self._thread = GuardedThread(self._try, name="engine revival", goes_on=False)
                self._thread.start()
            when = f"the next try is in {left:.1f} s" if left > 0 else "it is being opened again"
            raise EngineError(f"{self.name}: the GPU was lost ({self._why}); {when}")

    def _run(self, engine: PipelinedEngine, work: Callable[[PipelinedEngine], T]) -> T:
        try:
            return work(engine)
        except DeviceLostError as error:
            self._lose(engine, error)
            raise

    def _lose(self, engine: PipelinedEngine, error: DeviceLostError) -> None:
        with self._lock:
            if self._engine is not engine:
                return  # another call lost it before
            self._engine = None
            self._tickets = {
                ticket: found for ticket, found in self._tickets.items() if found[0] is engine
            }
            self._why, self._tries = str(error), 0
            self._due = self._clock() + WAITS_S[0]
        self._say(f"{self.name}: the GPU was lost: {error}")
        try:
            engine.close()
        except EngineError as problem:
            self._say(f"{self.name}: closing it: {problem}")

    def _try(self) -> None:
        """Open an engine and test it; in a thread of its own."""
        try:
            engine = self._open_tested()
        except Exception as error:  # noqa: BLE001  # the border: whatever it is, there is none now
            if not self._closed:
                self._say(self._plan_next_try(error))
        else:
            self._take_up(engine)
        finally:
            with self._lock:
                self._thread = None

    def _take_up(self, engine: PipelinedEngine) -> None:
        with self._lock:
            closed = self._closed
            if not closed:
                self._engine = engine
        if closed:  # nobody waited for it
            engine.close()
            return
        self._describe(engine)
        self._say(f"{self.name}: works again on {engine.device}")

    def _plan_next_try(self, error: Exception) -> str:
        with self._lock:
            self._tries += 1
            wait = WAITS_S[min(self._tries, len(WAITS_S) - 1)]
            self._due = self._clock() + wait
            self._why = str(error) or type(error).__name__
        return (
            f"{self.name}: try {self._tries} failed: {error}; the next is in {wait:g} s, and if "
            "none succeeds restart this program"
        )

    def _open_tested(self) -> PipelinedEngine:
        engine = self._open(self._stop_if_closed)
        try:
            if self._check is not None:
                self._check(engine)
        except BaseException:
            engine.close()
            raise
        return engine

    def _stop_if_closed(self, _share: float) -> None:
        if self._closed:
            raise EngineError(f"{self.name}: it was closed while it was being opened again")
