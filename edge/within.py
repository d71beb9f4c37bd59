"""An inspection that always answers in time: the deadline of a station around one camera's loop."""

from __future__ import annotations

import threading
import time

from cameras.closing import Closing
from cameras.frame import Frame
from edge.result import Result, Verdict, error_from_frame
from edge.station.inspecting import answer_from_result
from edge.station.jobs import NS_PER_MS, NS_PER_S, Answer, Job, Recipe, StationOptions
from edge.station.station import Station
from edge.station.thread_worker import ThreadWorker
from edge.station.words import State, StationError
from edge.stream import Inspect

START_S = 60.0
CLOSE_S = 1.0
FOR_EVER_S = 1e8
"""A thread cannot be replaced: one that hangs stays, and is busy until it comes back."""
PARTS = 0xFFFFFFFF
MS_PER_S = 1000.0
SHORTEST_MS = 0.001
LONGEST_MS = 1e9


class Within(Closing):
    """Calls `inspect` in a thread of its own; what takes too long is an ERROR at the deadline.

    Until that inspection ends, every further frame is an ERROR at once: nothing waits behind what
    hangs, and what comes late is thrown away. So is what `inspect` raises: logged, and an ERROR.

    Any thread may call it, one at a time is served; released by `close` or at the end of `with`.

    Args:
        inspect: one frame's result.
        deadline_ms: from the call to its result, where the call says nothing else.
        threshold: of the ERROR results, until there is a result to take it from.
    """

    def __init__(self, inspect: Inspect, *, deadline_ms: float, threshold: float) -> None:
        self._judge = _Judge(inspect)
        self._threshold = threshold
        self._deadline_ms = deadline_ms
        self._turn = threading.Lock()
        self._count = 0
        self._begun = time.monotonic_ns()
        options = StationOptions(
            name="inspection",
            deadline_ms=deadline_ms,
            hang_after_s=FOR_EVER_S,
            latch=False,
        )
        worker = ThreadWorker(self._judge, close_after_s=CLOSE_S)
        self._station = Station(worker, options=options)
        self._station.wait_ready(START_S)

    @property
    def late(self) -> int:
        """Results that came after their deadline and were thrown away."""
        return self._station.snapshot().counters.late

    def __call__(self, frame: Frame, *, deadline_ms: float | None = None) -> Result:
        """Judge a frame; raises nothing that `inspect` does.

        Args:
            frame: to be judged.
            deadline_ms: of this one.

        Raises:
            ValueError: a deadline that is not positive.
        """
        wanted_ms = self._deadline_ms if deadline_ms is None else deadline_ms
        if not 0 < wanted_ms < LONGEST_MS:
            raise ValueError(f"deadline {wanted_ms} ms: must be positive")
        left_ms = wanted_ms
        if not self._turn.acquire(blocking=False):
            begun = time.monotonic_ns()
            if not self._turn.acquire(timeout=wanted_ms / MS_PER_S):
                reason = f"not begun within {wanted_ms:g} ms: others are before it"
                return self._failed(frame, reason)
            left_ms = max(wanted_ms - (time.monotonic_ns() - begun) / NS_PER_MS, SHORTEST_MS)
        try:
            return self._answered(frame, left_ms)
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the thread, after what it is at; one that hangs is left to itself after 1 s."""
        self._station.close()

    def _answered(self, frame: Frame, deadline_ms: float) -> Result:
        self._count = self._count % PARTS + 1
        self._judge.give(self._count, frame)
        now = time.monotonic_ns()
        try:
            part = self._station.submit(part_id=self._count, deadline_ms=deadline_ms)
        except StationError:
            self._judge.take_back(self._count)
            since_s = (now - self._begun) / NS_PER_S
            return self._failed(frame, f"an earlier inspection hangs, for {since_s:.1f} s by now")
        self._begun = now
        done = part.result()
        result = self._judge.result(done.seq)
        decided = done.state is State.COMPLETED
        if result is None or not (decided or result.verdict is Verdict.ERROR):
            return self._failed(frame, done.reason or f"the inspection was {done.state.name}")
        self._threshold = result.threshold
        return result

    def _failed(self, frame: Frame, reason: str) -> Result:
        return error_from_frame(frame, threshold=self._threshold, reason=frame.reason or reason)


class _Judge:
    """A station's judge whose pictures are given to it, and whose whole results can be had."""

    def __init__(self, inspect: Inspect) -> None:
        self._inspect = inspect
        self._lock = threading.Lock()
        self._frames: dict[int, Frame] = {}
        self._latest: tuple[int, Result] | None = None

    def give(self, part_id: int, frame: Frame) -> None:
        """Lay down the picture of a part."""
        with self._lock:
            self._frames[part_id] = frame

    def take_back(self, part_id: int) -> None:
        """Take away the picture of a part that was not accepted."""
        with self._lock:
            del self._frames[part_id]

    def result(self, seq: int) -> Result | None:
        """The whole result of an inspection, if it is through and the latest."""
        with self._lock:
            latest, self._latest = self._latest, None
        return latest[1] if latest is not None and latest[0] == seq else None

    def load(self, recipe_id: int) -> Recipe:
        """See `Judge.load`; what inspects is loaded already."""
        return Recipe(recipe_id)

    def inspect(self, job: Job) -> Answer:
        """See `Judge.inspect`."""
        with self._lock:
            frame = self._frames.pop(job.part_id)
        begun = time.monotonic_ns()
        result = self._inspect(frame)
        with self._lock:
            self._latest = (job.seq, result)
        passed_us = (time.monotonic_ns() - begun) // 1000
        return answer_from_result(job, frame, result, process_us=passed_us)

    def close(self) -> None:
        """See `Judge.close`; whoever gave `inspect` releases it."""
