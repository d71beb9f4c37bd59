"""Whether the worker is alive, and the heartbeat that says so.

Whoever reads from the worker's process sees whether it is there at all. Here is what only time
tells: that it has been busy with one thing for too long.
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
        loading: what it does is a change of recipe.
        hangs_at_ns: monotonic time from which it counts as hung; None while it is idle.
    """

    def __init__(self, options: StationOptions, now_ns: int) -> None:
        self._options = options
        self._beat_ns = now_ns  # when the heartbeat moved last
        self._stalls_at_ns: int | None = None
        self.heartbeat = 0
        self.present = False
        self.loading = False
        self.hangs_at_ns: int | None = None

    @property
    def working(self) -> bool:
        """Whether the worker has something to do."""
        return self.hangs_at_ns is not None

    def begin_presence(self) -> None:
        """A worker is ready and idle."""
        self.present = True
        self.end_work()

    def end_presence(self) -> None:
        """The worker is gone, with whatever it was doing."""
        self.present = False
        self.end_work()

    def begin_work(self, now_ns: int, *, loading: bool = False) -> None:
        """The worker begins to work."""
        options = self._options
        self.loading = loading
        limit_s = options.load_after_s if loading else options.hang_after_s
        self.hangs_at_ns = now_ns + int(limit_s * NS_PER_S)
        # A recipe that is loaded is a sign of life until it takes too long.
        self._stalls_at_ns = None if loading else now_ns + int(options.stall_after_s * NS_PER_S)

    def keep_loading(self, now_ns: int) -> None:
        """What is loaded moves on: it counts as hung only when it has stood still for so long."""
        if self.loading:
            self.hangs_at_ns = now_ns + int(self._options.load_after_s * NS_PER_S)

    def end_work(self) -> None:
        """The worker is idle."""
        self.hangs_at_ns = self._stalls_at_ns = None
        self.loading = False

    def advance(self, now_ns: int) -> bool:
        """Advance the heartbeat; return whether it changed."""
        stalled = self._stalls_at_ns is not None and now_ns >= self._stalls_at_ns
        if stalled or not self.present:
            self._beat_ns = now_ns
            return False
        beats = max(0, now_ns - self._beat_ns) // BEAT_NS
        self._beat_ns += beats * BEAT_NS
        self.heartbeat = (self.heartbeat + beats) % WORDS
        return beats > 0

    def hang_reason(self) -> str:
        """Why the worker is replaced once it hangs."""
        loads = self.loading
        what = "loading a recipe" if loads else "an inspection"
        limit_s = self._options.load_after_s if loads else self._options.hang_after_s
        return f"the worker hangs: {what} has taken {limit_s:g} s"
