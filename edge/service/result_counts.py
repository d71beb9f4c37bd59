"""A camera's or station's results, counted once: summary, page, /metrics and systemd read this."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping
from datetime import date
from typing import Any

from cameras.frame import Frame
from edge.result import Result, Verdict

BUCKETS_MS = (5, 10, 20, 33, 50, 75, 100, 150, 200, 500, 1000, 5000)
"""Upper ends of the latencies that are counted together."""
LATENCIES_KEPT = 100_000
DAYS_KEPT = 3
_BUCKET_NAMES = (*(str(end) for end in BUCKETS_MS), "+Inf")
_NS_PER_S = 1e9
_MS_PER_S = 1e3


class ResultCounts:
    """Counts results; one thread adds, any thread may read.

    Args:
        live: whether a latency is from capture to result. One of a file is the sum of its stages:
            a file waits for nobody but its reader.

    Attributes:
        dropped: frames captured and not inspected.
        reason: why the last result was ERROR; empty when it was not.
        began_s: monotonic time at birth.
        last_s: of the last result; `began_s` before the first.
        judged_s: of the last OK or NG; None before the first.
        captured_s: when the last frame with an image was captured; None before the first.
    """

    def __init__(self, *, live: bool = True) -> None:
        self.dropped = 0
        self.reason = "no frame yet"
        self.began_s = self.last_s = time.monotonic()
        self.judged_s: float | None = None
        self.captured_s: float | None = None
        self._live = live
        self._lock = threading.Lock()
        self._verdicts: Counter[Verdict] = Counter()
        self._days: dict[date, Counter[Verdict]] = {}  # a clock that is set back goes back in it
        self._stages_ms: dict[str, float] = {}
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._buckets = [0] * len(_BUCKET_NAMES)
        self._latency_sum_ms = 0.0

    def add(self, frame: Frame, result: Result) -> None:
        """Count a frame's result."""
        now = time.monotonic()
        latency_ms = None
        if frame.image is not None:
            self.captured_s = frame.monotonic_ns / _NS_PER_S
            if self._live:
                latency_ms = (now - self.captured_s) * _MS_PER_S
            elif result.speed:
                latency_ms = sum(result.speed.values())
        self.reason, self.last_s = result.reason, now
        if result.verdict is not Verdict.ERROR:
            self.judged_s = now
        self.count(result.verdict, latency_ms=latency_ms, stages_ms=result.speed)

    def count(
        self, verdict: Verdict, *, latency_ms: float | None, stages_ms: Mapping[str, float]
    ) -> None:
        """Count a verdict that has no frame here."""
        with self._lock:
            self._verdicts[verdict] += 1
            self._counted_today()[verdict] += 1
            for stage, ms in stages_ms.items():
                self._stages_ms[stage] = self._stages_ms.get(stage, 0.0) + ms
            if latency_ms is not None:
                self._latencies_ms.append(latency_ms)
                self._buckets[bisect_left(BUCKETS_MS, latency_ms)] += 1
                self._latency_sum_ms += latency_ms

    @property
    def verdicts(self) -> Counter[Verdict]:
        """How many of each."""
        with self._lock:
            return self._verdicts.copy()

    def today(self) -> dict[str, int]:
        """How many of each verdict on this day of the machine's clock, earlier runs included."""
        with self._lock:
            return _by_name(self._counted_today())

    def continue_day(self, day: date, counted: Mapping[Verdict, int]) -> None:
        """Add what earlier runs counted on a day of the machine's clock."""
        with self._lock:
            self._days[day] = self._days.get(day, Counter()) + Counter(counted)

    @property
    def latencies_ms(self) -> list[float]:
        """Of the last 100 000 that had one."""
        with self._lock:
            return [*self._latencies_ms]

    def to_json(self) -> dict[str, Any]:
        """Verdicts, latencies and the time spent in each stage."""
        with self._lock:
            return {
                **_by_name(self._verdicts),
                "latency_ms": {
                    "buckets": dict(zip(_BUCKET_NAMES, self._buckets, strict=True)),
                    "sum": round(self._latency_sum_ms, 3),
                },
                "stage_ms": {stage: round(ms, 3) for stage, ms in self._stages_ms.items()},
            }

    def _counted_today(self) -> Counter[Verdict]:
        today = date.today()
        if today not in self._days:
            while len(self._days) >= DAYS_KEPT:
                del self._days[min(self._days)]
            self._days[today] = Counter()
        return self._days[today]


def _by_name(verdicts: Counter[Verdict]) -> dict[str, int]:
    return {str(verdict).lower(): verdicts[verdict] for verdict in Verdict}
