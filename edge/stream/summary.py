"""The summary of a stream: verdicts, latencies and losses, of one camera or of several."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge.result import Verdict
from edge.service.result_counts import ResultCounts


@dataclass(frozen=True, slots=True)
class Summary:
    """Verdicts, latencies and losses of a stream.

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


def summary_from_counts(
    counts: Sequence[ResultCounts], *, not_drawn: int, not_written: int
) -> Summary:
    """Sum up the results of one camera, or of several together."""
    verdicts = sum((each.verdicts for each in counts), Counter[Verdict]())
    frames = verdicts.total()
    seconds = max(each.last_s for each in counts) - min(each.began_s for each in counts)
    return Summary(
        frames=frames,
        ok=verdicts[Verdict.OK],
        ng=verdicts[Verdict.NG],
        error=verdicts[Verdict.ERROR],
        dropped=sum(each.dropped for each in counts),
        not_drawn=not_drawn,
        not_written=not_written,
        seconds=seconds,
        rate_hz=frames / seconds if seconds > 0 else 0.0,
        latency_ms=_quantiles([ms for each in counts for ms in each.latencies_ms]),
    )


def _quantiles(latencies_ms: Sequence[float]) -> dict[str, float] | None:
    if not latencies_ms:
        return None
    found = np.percentile(np.array(latencies_ms), [50, 95, 99]).tolist()
    return {name: round(ms, 3) for name, ms in zip(("p50", "p95", "p99"), found, strict=True)}
