"""How one camera's inspection goes, for whoever watches: readiness, hangs, and what was counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.inspection.hot_swap import HotSwapInspector
from edge.service.input_watch import InputWatch
from edge.service.result_counts import ResultCounts
from edge.sinks.sink import Sink

HANG_S = 10.0
JUDGED_S = 2.0


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """What is expected of a camera.

    Attributes:
        live: results come all the time, an ERROR if no frame does.
        stall_after_s: within this time, when it is live.
        hang_s: an inspection, or a silence of a live camera, this much longer is a hang.
    """

    live: bool
    stall_after_s: float = 1.0
    hang_s: float = HANG_S


class CameraStatus:
    """Says how a camera is; any thread may ask.

    Args:
        name: of the camera; empty where there is one alone.
        inspector: its own.
        counts: of its results.
        options: what is expected of it.
        sinks: where its results go.
        source_trouble: says what is wrong with its source although pictures come; empty if nothing.
        watch: of its pictures and scores; None where nobody watches.
    """

    def __init__(
        self,
        name: str,
        inspector: HotSwapInspector,
        *,
        counts: ResultCounts,
        options: StatusOptions,
        sinks: Sequence[Sink] = (),
        source_trouble: Callable[[], str] = str,
        watch: InputWatch | None = None,
    ) -> None:
        self.name = name
        self.inspector = inspector
        self.sinks = list(sinks)
        self.watch = watch
        self._counts = counts
        self._options = options
        self._source_trouble = source_trouble

    def troubles(self) -> list[str]:
        """What its source and its sinks can't do now, and what is amiss with its pictures."""
        of_source, of_sinks = self._source_trouble(), troubles_from_sinks(self.sinks)
        of_pictures = self.watch.troubles if self.watch else []
        return [*([of_source] if of_source else []), *of_sinks, *of_pictures]

    def not_ready_reason(self) -> str:
        """Why it can't be relied on now; empty when it can.

        A live camera has to have given a verdict lately. What waits for parts has to pass its
        self-test, which it did at birth.
        """
        reason = self.inspector.failed_check or self.hang_reason()
        if reason or not self._options.live:
            return reason
        judged, last_error = self._counts.judged_s, self._counts.reason
        if judged is None:
            return last_error or "no verdict yet"
        silent_s = time.monotonic() - judged
        if silent_s > max(JUDGED_S, 2 * self._options.stall_after_s):
            return last_error or f"no verdict for {silent_s:.1f} s"
        return ""

    def hang_reason(self) -> str:
        """What will not end without a restart of the process; empty if nothing."""
        busy_s = self.inspector.busy_s()
        if busy_s > self._options.hang_s:
            return f"an inspection has taken {busy_s:.0f} s"
        if not self._options.live:
            return ""
        silent_s = time.monotonic() - self._counts.last_s
        if silent_s > self._options.stall_after_s + self._options.hang_s:
            return f"no result for {silent_s:.0f} s, not even an ERROR"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        now, inspector, captured_s = time.monotonic(), self.inspector, self._counts.captured_s
        reason, counted = self.not_ready_reason(), self._counts.to_json()
        return {
            "ready": not reason,
            "reason": reason,
            "live": self._options.live,
            "frames": counted["ok"] + counted["ng"] + counted["error"],
            **counted,
            "today": self._counts.today(),
            "dropped": self._counts.dropped,
            "not_written": count_lost(self.sinks),
            "frame_age_s": None if captured_s is None else round(now - captured_s, 3),
            "self_test": {
                "passed": not inspector.failed_check,
                "age_s": round(now - inspector.tested_s, 1),
                "failures": inspector.failed_tests,
            },
            "reloads": {"done": inspector.reloads, "refused": inspector.refused},
            "sinks_in_trouble": len(troubles_from_sinks(self.sinks)),
            "troubles": self.troubles(),
            **(self.watch.to_json() if self.watch else {}),
        }


def troubles_from_sinks(sinks: Sequence[Sink]) -> list[str]:
    """What sinks can't do now."""
    return [sink.losses.trouble for sink in sinks if sink.losses.trouble]


def count_lost(sinks: Sequence[Sink]) -> int:
    """Results that sinks could not write, or had no time for."""
    return sum(sink.losses.total for sink in sinks)
