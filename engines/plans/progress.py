"""How far a plan's compilation is, from TensorRT's own phases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _BuildPhase:
    parent: str | None
    steps: int
    done: int = 0


class Shares:
    """Phases within phases as one share.

    A phase counts as a part of the step that its parent is in.

    Args:
        progress: receives the share, 0 to 1, each time it has grown.
    """

    def __init__(self, progress: Callable[[float], None]) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._phases: dict[str, _BuildPhase] = {}
        self._share = 0.0

    def begin(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._phases[name] = _BuildPhase(parent, max(1, steps))
        self._tell()

    def step(self, name: str) -> None:
        """A step of a phase is done."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = min(phase.steps, phase.done + 1)
        self._tell()

    def end(self, name: str) -> None:
        """A phase is over."""
        with self._lock:
            phase = self._phases.pop(name, None)
            over = phase is not None and phase.parent is None
        self._tell(1.0 if over else None)

    def _tell(self, share: float | None = None) -> None:
        with self._lock:
            found = self._found(None) if share is None else share
            grown = found > self._share
            self._share = max(self._share, found)
        if grown:
            self._progress(found)

    def _found(self, parent: str | None) -> float:
        """Share of the furthest phase among those of one parent."""
        shares = [
            (phase.done + self._found(name)) / phase.steps
            for name, phase in self._phases.items()
            if phase.parent == parent
        ]
        return min(1.0, max(shares, default=0.0))


def monitor_from_progress(trt: Any, progress: Callable[[float], None]) -> Any:
    """TensorRT's progress monitor that moves `progress`.

    What `progress` raises, and Ctrl-C, which Python notices only here while TensorRT works, stops
    the build: TensorRT cannot carry an exception, so the monitor keeps it in `stopped_by`.
    """

    class BuildMonitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped_by: BaseException | None = None
            self._shares = Shares(progress)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._guarded(self._shares.begin, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._guarded(self._shares.step, phase_name)
            return self.stopped_by is None

        def phase_finish(self, phase_name: str) -> None:
            self._guarded(self._shares.end, phase_name)

        def _guarded(self, function: Callable[..., None], *given: Any) -> None:
            if self.stopped_by is not None:
                return
            try:
                function(*given)
            except BaseException as error:  # noqa: BLE001 - raised again when TensorRT is done
                self.stopped_by = error

    return BuildMonitor()
