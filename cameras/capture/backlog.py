"""Tells pictures that queued up somewhere from those that come when they are taken.

Opening collects pictures for up to seconds before it returns; a network that was interrupted, or a
process that was held up, leaves a queue. They come at once: they are old until one has to be waited
for. Whether the first one after a gap is old cannot be known, so it counts as old.
"""

from __future__ import annotations

import time
from collections import deque

_NS = 1_000_000_000
_CATCH_UP_NS = _NS
_LATE_NS = 150_000_000
_USUAL_HZ = 30.0
_ALIKE = 1.4  # the longest of a slow camera's gaps to the shortest
_GAPS = 3  # alike, and the camera is slow: it does not falter


class BacklogFilter:
    """Looks at when each picture of a connection came, and how long it was waited for.

    Args:
        rate_hz: nominal frames per second; None when it is not known.
        stall_ns: a gap that is no usual one.

    Attributes:
        has_queue: the pictures that came after a stall came at once.
    """

    def __init__(self, rate_hz: float | None, stall_ns: int) -> None:
        rate_hz = rate_hz or _USUAL_HZ
        self.has_queue = False
        self._stall_ns = stall_ns
        self._wait_ns = int(_NS / (2 * rate_hz))
        self._period_ns = _NS / rate_hz
        self._last_ns = self._since_ns = time.monotonic_ns()
        self._behind = True
        self._after_stall = False
        self._gaps: deque[int] = deque(maxlen=_GAPS)

    @property
    def slow_period_ns(self) -> int:
        """The time between two pictures, if each one but for that would be a stall; otherwise 0."""
        return int(self._period_ns) if self._period_ns >= 0.9 * self._stall_ns else 0

    def is_old(self, began_ns: int, now_ns: int) -> bool:
        """Whether the picture that was waited for from `began_ns` to `now_ns` is old."""
        gap_ns, self._last_ns = now_ns - self._last_ns, now_ns
        waited = now_ns - began_ns >= self._wait_ns
        if waited:
            self._learn_period(gap_ns)
        self.has_queue = self._after_stall and not waited
        self._after_stall = gap_ns >= max(self._stall_ns, 2.5 * self._period_ns)
        if not self._behind and gap_ns > max(_LATE_NS, 2.5 * self._period_ns):
            self._behind, self._since_ns = True, now_ns
            return True
        if self._behind and not waited and now_ns - self._since_ns < _CATCH_UP_NS:
            return True
        self._behind = False
        return False

    def _learn_period(self, gap_ns: int) -> None:
        """Nominal rates are often wrong, and cameras get slower in the dark."""
        self._gaps.append(gap_ns)
        slow = len(self._gaps) == _GAPS and min(self._gaps) >= 0.8 * self._stall_ns
        if slow and max(self._gaps) <= _ALIKE * min(self._gaps):
            self._period_ns = sum(self._gaps) / _GAPS
        else:
            self._period_ns += 0.2 * (min(gap_ns, 4 * self._period_ns) - self._period_ns)
