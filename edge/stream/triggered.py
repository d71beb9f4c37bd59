"""Triggered mode: each trigger has a picture, an inspection and, whatever happens, one result.

    trigger ──▶ awaiting ──(first picture after it)──▶ waiting ──▶ inspected ──▶ result
        └─(too many are under way: ERROR at once)        └─(deadline: ERROR)─┘

Pictures are taken while the inspector is busy with earlier parts, since a part does not stay in
view. So the bound is on parts under way, and one more than that is an ERROR and is not inspected.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, Protocol

from cameras.frame import Frame
from cameras.source import Source, frame_now
from edge.health.checks import ImageChecks
from edge.inspection.deadline import DeadlineRunner
from edge.inspection.verdict import DecisionSettings
from edge.options import PART_DEADLINE_MS, StreamOptions
from edge.result import OnResult, Result, Verdict, error_from_frame
from edge.stream.picture_taker import CLOSE_S, PictureTaker
from process.forks import Birthplace, refuse_to_pickle
from process.threads import FAILURES, GuardedThread

LOG = logging.getLogger("edge.stream.triggered")
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_DEFAULTS = StreamOptions()


@dataclass(frozen=True, slots=True)
class TriggerOptions:
    """How parts are taken.

    Attributes:
        under_way: parts that may be under way; a trigger beyond them is an ERROR at once.
        deadline_ms: from trigger to result, then ERROR.
        settle_ms: a live picture counts from so long after its trigger: a camera's pictures come
            later than they were taken.

    Raises:
        ValueError: out of range.
    """

    under_way: int = _DEFAULTS.under_way
    deadline_ms: float = PART_DEADLINE_MS
    settle_ms: float = _DEFAULTS.settle_ms

    def __post_init__(self) -> None:
        """Check the values."""
        if self.under_way < 1:
            raise ValueError(f"under_way {self.under_way}: must be at least 1")
        if not 0 < self.deadline_ms < 1e9 or not 0 <= self.settle_ms < self.deadline_ms:
            raise ValueError(
                f"deadline {self.deadline_ms:g} ms, settle {self.settle_ms:g} ms: the deadline "
                "must be positive, and longer than the time to settle"
            )


@dataclass(frozen=True, slots=True)
class TriggerCounts:
    """What became of triggers.

    Attributes:
        triggered: triggers in all; each has its result, or will have it by its deadline.
        overflowed: of these, those that came while too many were under way.
        overdue: of these, those without a result at their deadline.
        late: results that came after their deadline and were thrown away.
    """

    triggered: int = 0
    overflowed: int = 0
    overdue: int = 0
    late: int = 0


class FrameInspector(Protocol):
    """An `Inspector`, or what stands for one."""

    @property
    def settings(self) -> DecisionSettings:
        """Whose threshold ERROR results carry."""
        ...

    @property
    def health(self) -> ImageChecks:
        """What is expected of its pictures."""
        ...

    def inspect(self, image: Frame) -> Result:
        """One frame's result."""
        ...


@dataclass(eq=False, slots=True)
class _TriggeredPart:
    number: int
    triggered_ns: int
    deadline_ns: int
    future: Future[Result] = field(default_factory=Future)
    under_way: bool = False
    picture: Future[Frame] | None = None  # while it is waited for
    frame: Frame | None = None
    result: Result | None = None


class Triggered(AbstractContextManager["Triggered"]):
    """Inspects a part for each `trigger`; any thread may trigger.

    Args:
        inspector: judges; the caller closes it.
        source: open; a live one's first picture after the trigger is the part's, else its next.
            No picture is used for two parts. It is closed with this object.
        options: how many parts may be under way, and for how long.
        reopen: opens a live source again that has failed; see `PictureTaker`.
        on_result: called with each part's frame and result in the order of the triggers, in one
            thread; it must return soon.
    """

    def __init__(
        self,
        inspector: FrameInspector,
        source: Source,
        *,
        options: TriggerOptions | None = None,
        reopen: Callable[[], Source] | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        self._options = options or TriggerOptions()
        self._inspector = inspector
        self._source = source
        self._on_result = on_result
        self._birthplace = Birthplace()
        self._changed = threading.Condition()
        self._order: deque[_TriggeredPart] = deque()  # to be told, in the order of their triggers
        self._under_way = 0
        self._counts = TriggerCounts()
        self._closing = False
        self._within = DeadlineRunner(
            inspector.inspect,
            deadline_ms=self._options.deadline_ms,
            threshold=inspector.settings.threshold,
        )
        self._pictures = PictureTaker(
            source,
            lambda: inspector.health,
            settle_ms=self._options.settle_ms,
            reopen=reopen,
        )
        # Its thread never hangs: an inspection has its deadline.
        self._inspections = ThreadPoolExecutor(1, thread_name_prefix="edge-inspect")
        self._reporting = GuardedThread(self._report, name="edge-report")
        self._reporting.start()

    @property
    def counts(self) -> TriggerCounts:
        """What became of the triggers so far."""
        with self._changed:
            return self._counts

    def trigger(self, part: int | None = None) -> Future[Result]:
        """Take the next picture as a part, and inspect it; returns at once.

        Args:
            part: its number, in its result; None counts from 1.

        Returns:
            Of its result: ERROR at the latest when its deadline passes; at once in a process that
            was forked meanwhile.
        """
        elsewhere = self._birthplace.why_not_here()
        if elsewhere:
            threshold = self._inspector.settings.threshold
            result = error_from_frame(self._missing_frame(elsewhere), threshold=threshold)
            refused: Future[Result] = Future()
            refused.set_result(dataclasses.replace(result, part=part))
            return refused
        now = time.monotonic_ns()
        with self._changed:
            self._count(triggered=1)
            number = self._counts.triggered if part is None else part
            new = _TriggeredPart(number, now, now + int(self._options.deadline_ms * _NS_PER_MS))
            refusal = self._refusal_reason()
            self._order.append(new)
            if not refusal:
                self._under_way += 1
                new.under_way, new.picture = True, self._pictures.request(now)
            self._changed.notify_all()
        if new.picture is None:
            self._settle_error(new, refusal)
        else:
            new.picture.add_done_callback(partial(self._receive_picture, new))
        return new.future

    def close(self) -> None:
        """Let what is under way end, by its deadlines, and release the source.

        A second call does nothing.
        """
        if self._birthplace.why_not_here():
            return
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._reporting.join(self._options.deadline_ms / 1e3 + CLOSE_S)
        self._pictures.close()
        self._inspections.shutdown()
        self._within.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        refuse_to_pickle("a triggered line", "make it in the process that uses it")

    def _receive_picture(self, part: _TriggeredPart, picture: Future[Frame]) -> None:
        """Queue a part that has its picture for inspection; without an image it is an ERROR."""
        part.picture = None  # else part and picture keep each other, and the camera's memory
        if picture.cancelled():
            return
        error = picture.exception()
        if error is not None:
            self._settle_error(part, str(error))
            return
        part.frame = picture.result()
        if part.frame.image is None:
            self._settle_error(part, part.frame.reason)
        else:
            self._inspections.submit(self._inspect, part, part.frame)

    def _inspect(self, part: _TriggeredPart, frame: Frame) -> None:
        left_ms = (part.deadline_ns - time.monotonic_ns()) / _NS_PER_MS
        if part.result is not None or left_ms <= 0:  # its deadline passed while it waited
            return
        try:
            self._settle(part, self._within(frame, deadline_ms=left_ms))
        except Exception as error:  # noqa: BLE001  # the border: nobody looks at the pool's future
            FAILURES.note("edge-inspect", error, goes_on=True)
            self._settle_error(part, f"{type(error).__name__}: {error}")

    def _report(self) -> None:
        """Run in a thread: keep deadlines, and report results in the order of the triggers."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._order or self._closing)
                if not self._order:
                    return
                part = self._order[0]
                while part.result is None and time.monotonic_ns() < part.deadline_ns:
                    left_s = (part.deadline_ns - time.monotonic_ns()) / _NS_PER_S
                    self._changed.wait(max(left_s, 0))
            self._fail_overdue(part)
            result, frame = part.result, part.frame
            with self._changed:
                self._order.popleft()
            if self._on_result is not None and result is not None:
                try:
                    self._on_result(frame or self._missing_frame(result.reason), result)
                except Exception as error:  # noqa: BLE001
                    # The border: whoever listens must not keep the next part's result.
                    FAILURES.note("a listener of results", error, goes_on=True)

    def _fail_overdue(self, part: _TriggeredPart) -> None:
        """ERROR for a part whose deadline has passed."""
        if part.result is not None:
            return
        lacking = "picture" if part.frame is None else "result"
        self._settle_error(part, f"no {lacking} within {self._options.deadline_ms:g} ms")
        picture = part.picture
        if picture is not None:
            picture.cancel()

    def _settle(self, part: _TriggeredPart, result: Result) -> None:
        """Give a part its result, unless it has one."""
        result = dataclasses.replace(result, part=part.number)
        with self._changed:
            if part.result is not None:
                # The deadline itself comes twice, as an ERROR of the inspection as well.
                self._count(late=result.verdict is not Verdict.ERROR)
                return
            self._count(overdue=time.monotonic_ns() >= part.deadline_ns)
            part.result = result
            self._under_way -= part.under_way
            self._changed.notify_all()
        if part.future.set_running_or_notify_cancel():
            part.future.set_result(result)

    def _settle_error(self, part: _TriggeredPart, reason: str) -> None:
        frame = part.frame or self._missing_frame(reason)
        threshold = self._inspector.settings.threshold
        self._settle(part, error_from_frame(frame, threshold=threshold, reason=reason))

    def _refusal_reason(self) -> str:
        """Why a trigger cannot be taken now; empty if it can."""
        if self._closing:
            return "the line is being closed"
        if self._under_way < self._options.under_way:
            return ""
        self._count(overflowed=1)
        return (
            f"overflow: {self._under_way} parts are under way already; trigger more slowly, or "
            "take a faster engine"
        )

    def _count(self, **counts: int) -> None:
        now = self._counts
        changed = {name: getattr(now, name) + more for name, more in counts.items()}
        self._counts = dataclasses.replace(now, **changed)

    def _missing_frame(self, reason: str) -> Frame:
        return frame_now(self._source.name, 0, None, reason)
