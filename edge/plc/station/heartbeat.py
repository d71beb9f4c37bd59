"""Whether the worker is alive, and the heartbeat that says so.

Whether a process is there at all is seen by whoever reads what it says. Here is what only time can
tell: that it has been at one thing for too long.
"""

from __future__ import annotations

from edge.plc.station.messages import NS_PER_MS, NS_PER_S, StationOptions

BEAT_NS = 100 * NS_PER_MS
WORDS = 65536


class WorkerClock:
    """Knows whether there is a worker and since when it works.

    Attributes:
        heartbeat: 0 to 65535, one more each 100 ms while the inference loop lives.
        present: there is a worker that has been ready.
        working_since_ns: monotonic begin of what the worker does; None while it is idle.
        loading: what it does is a change of recipe.
    """

    def __init__(self, options: StationOptions, now_ns: int) -> None:
        self._options = options
        self._mark_ns = now_ns
        self.heartbeat = 0
        self.present = False
        self.working_since_ns: int | None = None
        self.loading = False

    def begin_presence(self) -> None:
        """A worker is ready and idle."""
        self.present = True
        self.end_work()

    def end_presence(self) -> None:
        """The worker is gone, with whatever it was doing."""
        self.present = False
        self.end_work()

    def begin_work(self, now_ns: int, *, loading: bool = False) -> None:
        """The worker has got something to do."""
        self.working_since_ns = now_ns
        self.loading = loading

    def end_work(self) -> None:
        """The worker has done it."""
        self.working_since_ns = None
        self.loading = False

    def advance(self, now_ns: int) -> bool:
        """Move the heartbeat; whether it changed."""
        if not self._is_beating(now_ns):
            self._mark_ns = now_ns
            return False
        beats = max(0, now_ns - self._mark_ns) // BEAT_NS
        self._mark_ns += beats * BEAT_NS
        self.heartbeat = (self.heartbeat + beats) % WORDS
        return beats > 0

    def hang_reason(self, now_ns: int) -> str:
        """Why the worker has to be replaced; empty if all is well."""
        due = self.due_ns()
        if due is None or now_ns < due:
            return ""
        what = "loading a recipe" if self.loading else "an inspection"
        return f"the worker hangs: {what} has taken {self._limit_s:g} s"

    def due_ns(self) -> int | None:
        """When `hang_reason` has one; None while the worker is idle."""
        if self.working_since_ns is None:
            return None
        return self.working_since_ns + int(self._limit_s * NS_PER_S)

    @property
    def _limit_s(self) -> float:
        return self._options.load_after_s if self.loading else self._options.hang_after_s

    def _is_beating(self, now_ns: int) -> bool:
        since = self.working_since_ns
        stalled = since is not None and now_ns - since >= self._options.stall_after_s * NS_PER_S
        return self.present and (self.loading or not stalled)
