"""What a stream came to: verdicts and latencies, of one camera or of several."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cameras.frame import Frame
from edge.result import Result, Verdict

LATENCIES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What a stream came to.

    Attributes:
        frames: frames inspected, ERROR included.
        ok: how many were OK.
        ng: how many were NG.
        error: how many were ERROR.
        dropped: captured and not inspected, because a newer frame won (live only).
        not_drawn: inspected, but not drawn for lack of time (live only).
        not_written: results that a sink could not write.
        seconds: from the start to the last result.
        rate_hz: frames inspected per second.
        latency_ms: p50, p95, p99 of the last 100 000 frames of each camera: from capture to result
            for a live source, from prepare to decide for files. None without any frame that had
            an image.
        cameras: the same of each camera by its name; empty where there is only one, unnamed.
    """

    frames: int
    ok: int
    ng: int
    error: int
    dropped: int
    not_drawn: int
    not_written: int
    seconds: float
    rate_hz: float
    latency_ms: dict[str, float] | None
    cameras: Mapping[str, Summary] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON types only; without ``cameras`` where there is none."""
        own = {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name != "cameras"
        }
        own |= {"seconds": round(self.seconds, 3), "rate_hz": round(self.rate_hz, 3)}
        if self.cameras:
            own["cameras"] = {name: one.to_json() for name, one in self.cameras.items()}
        return own


class Tally:
    """Counts a camera's verdicts and keeps its latest latencies; used by one thread."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)  # ms
        self.began = self.ended = time.monotonic()

    def add(self, frame: Frame, result: Result, *, live: bool) -> None:
        """Count a result."""
        self.ended = time.monotonic()
        self.verdicts[result.verdict] += 1
        if frame.image is None:
            return
        if live:
            self.latencies.append((time.monotonic_ns() - frame.monotonic_ns) / 1e6)
        elif result.speed:
            self.latencies.append(sum(result.speed.values()))


def summary_of(
    tallies: Sequence[Tally], *, dropped: int, not_drawn: int, not_written: int
) -> Summary:
    """What one tally came to, or several together."""
    verdicts = sum((tally.verdicts for tally in tallies), Counter[Verdict]())
    frames = sum(verdicts.values())
    seconds = max(tally.ended for tally in tallies) - min(tally.began for tally in tallies)
    return Summary(
        frames=frames,
        ok=verdicts[Verdict.OK],
        ng=verdicts[Verdict.NG],
        error=verdicts[Verdict.ERROR],
        dropped=dropped,
        not_drawn=not_drawn,
        not_written=not_written,
        seconds=seconds,
        rate_hz=frames / seconds if seconds > 0 else 0.0,
        latency_ms=_quantiles([ms for tally in tallies for ms in tally.latencies]),
    )


def _quantiles(latencies: Sequence[float]) -> dict[str, float] | None:
    if not latencies:
        return None
    found = np.percentile(np.array(latencies), [50, 95, 99]).tolist()
    return {name: round(ms, 3) for name, ms in zip(("p50", "p95", "p99"), found, strict=True)}
