"""How one camera's inspection goes: counted with each result, read by whoever watches."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cameras.frame import Frame
from edge.inspection.hot_swap import HotSwapInspector
from edge.result import Result, Verdict
from edge.service.latencies import Latencies
from edge.sinks.sink import Sink

HANG_S = 10.0
JUDGED_S = 2.0
_NS = 1e9


@dataclass(frozen=True, slots=True)
class PulseOptions:
    """What is expected of a camera.

    Attributes:
        live: results come all the time, an ERROR if no frame does.
        stall_after_s: within this time, when it is live.
        hang_s: an inspection, or a silence of a live camera, this much longer is a hang.
    """

    live: bool
    stall_after_s: float = 1.0
    hang_s: float = HANG_S


class Pulse:
    """Counts a camera's results.

    Args:
        name: of the camera; empty where there is one alone.
        exchange: its inspector.
        options: what is expected of it.
        sinks: where its results go.
    """

    def __init__(
        self,
        name: str,
        exchange: HotSwapInspector,
        *,
        options: PulseOptions,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self.name = name
        self.exchange = exchange
        self.sinks = list(sinks)
        self._options = options
        self._lock = threading.Lock()
        self._verdicts: Counter[Verdict] = Counter()
        self._dropped = 0
        self._next = 0  # the index that a frame has if none was dropped
        self._latencies = Latencies()
        self._stages: Counter[str] = Counter()  # in ms
        self._born = self._beat = time.monotonic()
        self._judged: float | None = None
        self._captured: float | None = None
        self._reason = "no frame yet"

    def result(self, frame: Frame, result: Result) -> None:
        """Count a result; to be called with each, from the camera's thread."""
        now = time.monotonic()
        with self._lock:
            self._beat = now
            self._verdicts[result.verdict] += 1
            if frame.index > self._next:
                self._dropped += frame.index - self._next
            self._next = frame.index + 1
            self._reason = result.reason
            if result.verdict is not Verdict.ERROR:
                self._judged = now
            for stage, ms in result.speed.items():
                self._stages[stage] += ms  # type: ignore[assignment]
            if frame.image is not None:
                self._captured = frame.monotonic_ns / _NS
                self._latencies.add((now - self._captured) * 1e3)

    def not_ready(self) -> str:
        """Why it can't be relied on now; empty when it can.

        A live camera has to have given a verdict lately. What waits for parts has to pass its
        self-test, which it did at birth.
        """
        if self.exchange.failed_check:
            return self.exchange.failed_check
        if hung := self.hung():
            return hung
        if not self._options.live:
            return ""
        with self._lock:
            judged, reason = self._judged, self._reason
        if judged is None:
            return reason or "no verdict yet"
        silent = time.monotonic() - judged
        if silent > max(JUDGED_S, 2 * self._options.stall_after_s):
            return reason or f"no verdict for {silent:.1f} s"
        return ""

    def hung(self) -> str:
        """What never ends, and will not without a restart of the process; empty if nothing."""
        busy_s = self.exchange.busy_s()
        if busy_s > self._options.hang_s:
            return f"an inspection has taken {busy_s:.0f} s"
        if not self._options.live:
            return ""
        silent = time.monotonic() - self._beat
        if silent > self._options.stall_after_s + self._options.hang_s:
            return f"no result for {silent:.0f} s, not even an ERROR"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        now = time.monotonic()
        exchange = self.exchange
        not_ready = self.not_ready()
        with self._lock:
            return {
                "ready": not not_ready,
                "reason": not_ready,
                "live": self._options.live,
                "frames": sum(self._verdicts.values()),
                **{str(verdict).lower(): self._verdicts[verdict] for verdict in Verdict},
                "dropped": self._dropped,
                "not_written": lost_by(self.sinks),
                "frame_age_s": None if self._captured is None else round(now - self._captured, 3),
                "latency_ms": self._latencies.to_json(),
                "stage_ms": {stage: round(ms, 3) for stage, ms in self._stages.items()},
                "self_test": {
                    "passed": not exchange.failed_check,
                    "age_s": round(now - exchange.tested_s, 1),
                    "failures": exchange.failed_tests,
                },
                "reloads": {"done": exchange.reloads, "refused": exchange.refused},
                "troubles": troubles_of(self.sinks),
            }


def troubles_of(sinks: Sequence[Sink]) -> list[str]:
    """What sinks can't do now."""
    return [sink.losses.trouble for sink in sinks if sink.losses.trouble]


def lost_by(sinks: Sequence[Sink]) -> int:
    """Results that sinks could not write, or had no time for."""
    return sum(sink.losses.total for sink in sinks)
