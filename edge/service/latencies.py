"""Times that are counted together, as a histogram of Prometheus has them."""

from __future__ import annotations

from typing import Any

BUCKETS_MS = (5, 10, 20, 33, 50, 75, 100, 150, 200, 500, 1000, 5000)
"""Upper ends of the times that are counted together."""
_NAMES = (*(str(end) for end in BUCKETS_MS), "+Inf")


class Latencies:
    """Counts times; whoever shares one between threads locks it."""

    def __init__(self) -> None:
        self._counts = [0] * len(_NAMES)
        self._sum_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one."""
        place = next((n for n, most in enumerate(BUCKETS_MS) if ms <= most), len(BUCKETS_MS))
        self._counts[place] += 1
        self._sum_ms += ms

    def to_json(self) -> dict[str, Any]:
        """How many are up to each end and above the one before, and the sum of all in ms."""
        return {
            "buckets": dict(zip(_NAMES, self._counts, strict=True)),
            "sum": round(self._sum_ms, 3),
        }
