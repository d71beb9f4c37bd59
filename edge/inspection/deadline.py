"""An inspection that always answers in time: one camera's loop never waits for what hangs."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from contextlib import AbstractContextManager

from cameras.frame import Frame
from edge.inspection.failure_reason import reason_from_failure
from edge.result import Inspect, Result, Verdict, error_from_frame
from process.threads import GuardedThread

LOG = logging.getLogger("edge.inspection.deadline")
CLOSE_S = 1.0
MAX_DEADLINE_MS = 1e9
MIN_DEADLINE_MS = 0.001
_MS_PER_S = 1e3


class DeadlineRunner(AbstractContextManager["DeadlineRunner"]):
    """Calls `inspect` in a thread of its own; what takes too long is an ERROR at the deadline.

    Until that inspection ends, every further frame is an ERROR at once: nothing waits behind what
    hangs, and what comes late is thrown away. So is what `inspect` raises: logged, and an ERROR;
    and a verdict without a finite score.

    Any thread may call it, one at a time is served; released by `close` or at the end of `with`.

    Args:
        inspect: one frame's result.
        deadline_ms: from the call to its result, where the call says nothing else.
        threshold: of the ERROR results, until there is a result to take it from.
    """

    def __init__(self, inspect: Inspect, *, deadline_ms: float, threshold: float) -> None:
        self._inspect = inspect
        self._deadline_ms = deadline_ms
        self._threshold = threshold
        self._turn = threading.Lock()
        self._orders: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Result | str] = queue.SimpleQueue()
        self._hangs_since: float | None = None
        self._late = 0
        # A daemon: an inspection that hangs must not keep the process from ending.
        self._in_hand = False
        self._thread = GuardedThread(self._run, name="edge-deadline", on_failure=self._fail_one)
        self._thread.start()

    @property
    def late(self) -> int:
        """Results that came after their deadline and were thrown away."""
        with self._turn:
            return self._late + (self._hangs_since is not None and not self._answers.empty())

    def __call__(self, frame: Frame, *, deadline_ms: float | None = None) -> Result:
        """Judge a frame; raises nothing that `inspect` does.

        Args:
            frame: to be judged.
            deadline_ms: of this one.

        Raises:
            ValueError: a deadline that is not positive.
        """
        allowed_ms = self._deadline_ms if deadline_ms is None else deadline_ms
        if not 0 < allowed_ms < MAX_DEADLINE_MS:
            raise ValueError(f"deadline {allowed_ms} ms: must be positive")
        left_ms = allowed_ms
        if not self._turn.acquire(blocking=False):
            begun = time.monotonic()
            if not self._turn.acquire(timeout=allowed_ms / _MS_PER_S):
                return self._error(frame, f"not begun within {allowed_ms:g} ms: others go first")
            left_ms = max(allowed_ms - (time.monotonic() - begun) * _MS_PER_S, MIN_DEADLINE_MS)
        try:
            return self._order(frame, left_ms)
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the thread, after what it is doing; one that hangs is abandoned after 1 s."""
        self._orders.put(None)
        if self._thread is threading.current_thread():  # as where the last hold on it was there
            return
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            LOG.warning("an inspection did not stop; abandoning its thread")

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, frame: Frame, deadline_ms: float) -> Result:
        """Hand the frame to the thread and wait for the answer, up to the deadline."""
        if self._hangs_since is not None and not self._answers.empty():
            self._answers.get()  # nobody waited for it
            self._hangs_since = None
            self._late += 1
        if self._hangs_since is not None:
            since_s = time.monotonic() - self._hangs_since
            return self._error(frame, f"an earlier inspection hangs, so far for {since_s:.1f} s")
        begun = time.monotonic()
        try:
            self._orders.put(frame)
            answer = self._answers.get(timeout=deadline_ms / _MS_PER_S)
        except BaseException as error:
            self._hangs_since = begun
            if not isinstance(error, queue.Empty):  # such as Ctrl-C: its answer is nobody's
                raise
            return self._error(
                frame,
                f"no answer within {deadline_ms:g} ms; raise deadline_ms, or take a faster engine",
            )
        if isinstance(answer, str):
            return self._error(frame, answer)
        self._threshold = answer.threshold
        return answer

    def _run(self) -> None:
        """Answer each frame with its result, or with why there is none."""
        answer: Result | str
        while (frame := self._orders.get()) is not None:
            self._in_hand = True
            try:
                answer = result = self._inspect(frame)
                is_finite = result.score is not None and math.isfinite(result.score)
                if result.verdict is not Verdict.ERROR and not is_finite:
                    answer = f"a verdict with a score of {result.score}; run `edge doctor`"
                del result
            except Exception as error:  # noqa: BLE001  # the border: an ERROR of this frame alone
                answer = reason_from_failure("an inspection", error)
            self._in_hand = False
            self._answers.put(answer)
            # Their memory may be one of a few places that a camera writes to.
            del frame, answer

    def _fail_one(self, error: BaseException) -> None:
        """Answer the frame that was in hand when the thread failed."""
        if self._in_hand:
            self._in_hand = False
            self._answers.put(f"{type(error).__name__}: {error}")

    def _error(self, frame: Frame, reason: str) -> Result:
        return error_from_frame(frame, threshold=self._threshold, reason=frame.reason or reason)
