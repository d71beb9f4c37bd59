"""Whether the worker lives, and the heartbeat that says so."""

from __future__ import annotations

from edge.station.jobs import NS_PER_MS, NS_PER_S, StationOptions

BEAT_NS = 100 * NS_PER_MS
WORDS = 65536


class Liveness:
    """Knows when the worker last gave a sign of life and since when it works.

    Attributes:
        heartbeat: 0 to 65535, one more each 100 ms while the inference loop lives.
        working_since_ns: monotonic begin of what the worker does; None while it is idle.
    """

    def __init__(self, options: StationOptions, now_ns: int) -> None:
        self._options = options
        self._seen_ns: int | None = None
        self._mark_ns = now_ns
        self.heartbeat = 0
        self.working_since_ns: int | None = None
        self.loading = False

    @property
    def present(self) -> bool:
        """Whether there is a worker that has been ready."""
        return self._seen_ns is not None

    def arrived(self, now_ns: int) -> None:
        """A worker is ready and idle."""
        self._seen_ns = now_ns
        self.idle()

    def left(self) -> None:
        """The worker is gone, with whatever it was doing."""
        self._seen_ns = None
        self.idle()

    def seen(self, now_ns: int) -> None:
        """The worker gave a sign of life; one of a worker that never arrived is nothing."""
        if self._seen_ns is not None:
            self._seen_ns = now_ns

    def works(self, now_ns: int, *, loading: bool = False) -> None:
        """The worker has got something to do."""
        self.working_since_ns = now_ns
        self.loading = loading

    def idle(self) -> None:
        """The worker has done it."""
        self.working_since_ns = None
        self.loading = False

    def advance(self, now_ns: int) -> bool:
        """Move the heartbeat; whether it changed."""
        if not self._beats(now_ns):
            self._mark_ns = now_ns
            return False
        beats = max(0, now_ns - self._mark_ns) // BEAT_NS
        self._mark_ns += beats * BEAT_NS
        self.heartbeat = (self.heartbeat + beats) % WORDS
        return beats > 0

    def trouble(self, now_ns: int) -> str:
        """Why the worker has to be replaced; empty if all is well."""
        if self._silent(now_ns):
            return f"the worker gave no sign of life for {self._options.silent_after_s} s"
        since = self.working_since_ns
        limit = self._options.load_after_s if self.loading else self._options.hang_after_s
        if since is not None and now_ns - since >= limit * NS_PER_S:
            what = "loading a recipe" if self.loading else "an inspection"
            return f"the worker hangs: {what} has taken {limit:g} s"
        return ""

    def due_ns(self) -> int | None:
        """When `trouble` is to be asked next; None if nothing is awaited."""
        due = []
        if self._seen_ns is not None and self._watched():
            due.append(self._seen_ns + int((self._options.silent_after_s or 0) * NS_PER_S))
        if self.working_since_ns is not None:
            limit = self._options.load_after_s if self.loading else self._options.hang_after_s
            due.append(self.working_since_ns + int(limit * NS_PER_S))
        return min(due, default=None)

    def _beats(self, now_ns: int) -> bool:
        if self._seen_ns is None or self._silent(now_ns):
            return False
        since = self.working_since_ns
        stalled = since is not None and now_ns - since >= self._options.stall_after_s * NS_PER_S
        return self.loading or not stalled

    def _watched(self) -> bool:
        """Compiling a graph may hold up everything else in the worker: its silence is no sign."""
        return self._options.silent_after_s is not None and not self.loading

    def _silent(self, now_ns: int) -> bool:
        limit = self._options.silent_after_s
        if self._seen_ns is None or limit is None or not self._watched():
            return False
        return now_ns - self._seen_ns >= limit * NS_PER_S
