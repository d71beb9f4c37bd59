"""One engine for several callers, each in a thread of its own: cameras that share a model.

    batch of 1, pipelined    each call is submitted by its caller; up to `slots` at once
    batch of 1               one call after another
    larger batch             calls that come together become one, within a bound of latency

Who came first is served first, so a caller that is always there again takes one turn in as many as
there are callers, whatever the others do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import AbstractContextManager

import numpy as np

from engines.engine import Engine, Images, Output, PipelinedEngine
from engines.errors import EngineError

LOG = logging.getLogger("edge.engines")
HUNG_S = 3.0
"""A call that has not ended so long after the last share was given back never will."""
WITHIN_MS = 2.0
"""How long an image waits for others at most: a small part of what an inspection takes."""


class SharedEngine:
    """Serves several callers with one engine, which is closed with the last `share`.

    Args:
        engine: opened; nobody else may use it from here on.
        within_ms: how long an image may wait for others to fill a batch; 0 waits for none.
        why: why it is this engine, for whoever wants to know.

    Attributes:
        engine: the same.
        why: the same.
    """

    def __init__(self, engine: Engine, *, within_ms: float = WITHIN_MS, why: str = "") -> None:
        self.engine = engine
        self.why = why
        self._within_s = within_ms / 1e3
        self._pipelined = engine if isinstance(engine, PipelinedEngine) else None
        self._batch = int(getattr(engine, "batch", 1))
        self._turns = Turns(self._pipelined.slots if self._pipelined else 1)
        self._submitting = threading.Lock()
        self._collecting = Turns()
        self._state = threading.Condition()
        self._open: _Group | None = None
        self._shares = 0
        self._inside = 0
        self._closed = False

    def share(self) -> EngineShare:
        """A share for one more caller.

        Raises:
            EngineError: the engine was closed with its last share.
        """
        with self._state:
            if self._closed:
                raise EngineError(f"{self.engine.name}: the engine is closed; open it again")
            self._shares += 1
        return EngineShare(self)

    def infer(self, images: Images) -> tuple[Output, ...]:
        """Run images of one caller; see `Engine.infer`."""
        if not isinstance(images, np.ndarray) or images.ndim != 4 or len(images) <= self._batch:
            return self._answer(images)
        parts = range(0, len(images), self._batch)
        answers = [self._answer(images[at : at + self._batch]) for at in parts]
        return tuple(np.concatenate(column) for column in zip(*answers, strict=True))

    def give_back(self) -> None:
        """One share less; the last one closes the engine, after what is under way."""
        with self._state:
            self._shares -= 1
            if self._shares or self._closed:
                return
            self._closed = True
            ended = self._state.wait_for(lambda: self._inside == 0, timeout=HUNG_S)
        if ended:
            self.engine.close()
        else:  # its memory is in use: releasing it now would end the process
            LOG.warning("%s: a call does not end; the engine stays open", self.engine.name)

    def _answer(self, images: Images) -> tuple[Output, ...]:
        with self._state:
            if self._closed:
                raise EngineError(f"{self.engine.name}: the engine is closed; open it again")
            self._inside += 1
            self._state.notify_all()
        try:
            if self._batch == 1 or not _is_part(images, self.engine.size):
                with self._turns:
                    return self._call(images)
            return self._infer_together(images)
        finally:
            with self._state:
                self._inside -= 1
                self._state.notify_all()

    def _infer_together(self, images: Images) -> tuple[Output, ...]:
        """Answer as a part of a group; the first of a group calls the engine for all of it."""
        with self._state:
            group = self._open
            leads = group is None or group.count + len(images) > self._batch
            if group is None or leads:
                group = self._open = _Group()
            place = slice(group.count, group.count + len(images))
            group.images.append(images)
            group.count += len(images)
            self._state.notify_all()
        if leads:
            self._lead(group)
        else:
            group.done.wait()
        if group.outputs is not None:
            return tuple(output[place] for output in group.outputs)
        if len(group.images) > 1:
            # One image may have failed them all: only whose it is shall see the error.
            with self._turns:
                return self._call(images)
        raise group.error or EngineError(f"{self.engine.name}: the call did not end")

    def _lead(self, group: _Group) -> None:
        """Wait for others, then for a turn, in which still more may come; call; tell them."""
        try:
            self._wait_for_others(group)
            with self._turns:
                with self._state:
                    if self._open is group:
                        self._open = None
                images = group.images[0]
                if len(group.images) > 1:
                    images = np.concatenate(group.images)
                group.outputs = self._call(images)
        except EngineError as error:
            group.error = error
        finally:
            with self._state:
                if self._open is group:
                    self._open = None
            group.done.set()

    def _wait_for_others(self, group: _Group) -> None:
        """Until the group is full, nobody is left who could come, or it is time."""
        until = time.monotonic() + self._within_s
        with self._state:
            while self._open is group and group.count < self._batch:
                left = until - time.monotonic()
                if left <= 0 or self._inside >= self._shares:
                    return
                self._state.wait(left)

    def _call(self, images: Images) -> tuple[Output, ...]:
        """Call the engine; with a turn taken."""
        if self._pipelined is None:
            return self.engine.infer(images)
        # One thread may submit while another collects, and that is what an engine promises.
        with self._submitting:
            ticket = self._pipelined.submit(images)
        with self._collecting:
            return self._pipelined.collect(ticket)


class _Group:
    """Images of several callers that become one call."""

    def __init__(self) -> None:
        self.images: list[Images] = []
        self.count = 0
        self.done = threading.Event()
        self.outputs: tuple[Output, ...] | None = None
        self.error: EngineError | None = None


class EngineShare(AbstractContextManager["EngineShare"]):
    """An `Engine` for one caller; closing it leaves the others theirs.

    Args:
        shared: what it is a share of.

    Attributes:
        shared: the same.
    """

    def __init__(self, shared: SharedEngine) -> None:
        engine = shared.engine
        self.shared = shared
        self.name = engine.name
        self.device = engine.device
        self.executes = engine.executes
        self.outputs = engine.outputs
        self.size = engine.size
        self._closed = False

    def infer(self, images: Images) -> tuple[Output, ...]:
        """See `Engine.infer`; waits for its turn."""
        if self._closed:
            raise EngineError(f"{self.name}: the engine is closed; open it again")
        return self.shared.infer(images)

    def close(self) -> None:
        """Give the share back; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self.shared.give_back()

    def __exit__(self, *_: object) -> None:
        self.close()


class Turns:
    """A context manager with so many places; the others wait in line, first come first served.

    `threading.Lock` and `threading.Semaphore` let anybody in who happens to wake up: a thread that
    comes again at once could keep the others out.

    Args:
        places: how many may be inside at once, at least 1.
    """

    def __init__(self, places: int = 1) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._line: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Event()
            self._line.append(mine)
        mine.wait()  # who leaves hands its place over: nobody can slip in between

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._line:
                self._line.popleft().set()
            else:
                self._free += 1


def _is_part(images: Images, size: tuple[int, int]) -> bool:
    """Whether images can be put beside others; what cannot goes alone, and is refused alone."""
    return (
        isinstance(images, np.ndarray)
        and images.dtype == np.uint8
        and images.ndim == 4
        and len(images) > 0
        and images.shape[1:] == (*size, 3)
    )
