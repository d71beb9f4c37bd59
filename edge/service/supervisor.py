"""The life of a process that inspects for months: ready, tested, exchanged, watched, stopped.

One thread looks every quarter of a second whether all is well, and tells systemd and the log;
another one cares for the inspectors. Neither stands between a frame and its verdict.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.upkeep import Upkeep
from edge.service.camera_status import Pulse, PulseOptions, lost_by, troubles_of
from edge.service.systemd import Notifier
from edge.sinks.losses import strip_digits
from edge.sinks.sink import Sink

LOOK_S = 0.25
_STARTING_S = 30.0
_READY = "ready"
_CLOSE_S = 0.3
_log = logging.getLogger("edge.service.supervisor")


@dataclass(frozen=True, slots=True)
class LifeOptions:
    """How it is watched over.

    Attributes:
        self_test_s: seconds between two tests with the golden images; 0 = at the start alone.
        watch_bundles: whether a bundle that is built anew is taken into use.
    """

    self_test_s: float = 600.0
    watch_bundles: bool = True


class Life(AbstractContextManager["Life"]):
    """Watches over the cameras that are put into it, from `with` to its end.

    Args:
        options: how.
        stop: set when the process shall end.
        notifier: what systemd hears.
    """

    def __init__(
        self,
        options: LifeOptions | None = None,
        *,
        stop: threading.Event,
        notifier: Notifier | None = None,
    ) -> None:
        self._options = options or LifeOptions()
        self._stop = stop
        self._notifier = notifier or Notifier()
        self._pulses: dict[str, Pulse] = {}
        self._sinks: list[Sink] = []
        self._care = Upkeep(
            self_test_s=self._options.self_test_s,
            watch_bundles=self._options.watch_bundles,
            on_reload=self._mark_reloading,
        )
        self._over = threading.Event()
        self._began = self._stopping = False
        self._said = ""
        self._thread = threading.Thread(target=self._watch, name="edge-watch", daemon=True)

    def camera(
        self,
        name: str,
        exchange: HotSwapInspector,
        *,
        options: PulseOptions,
        sinks: Sequence[Sink] = (),
        bundle: Path | None = None,
    ) -> Pulse:
        """Take a camera in; `Pulse.result` wants each of its results.

        Args:
            name: of the camera; empty where there is one alone.
            exchange: its inspector.
            options: what is expected of it.
            sinks: where its results go.
            bundle: the folder that is watched for a newer one.
        """
        pulse = Pulse(name, exchange, options=options, sinks=sinks)
        self._pulses[name] = pulse
        self._care.add(exchange, bundle=bundle)
        return pulse

    def share(self, sinks: Sequence[Sink]) -> None:
        """Take sinks in that all cameras share."""
        self._sinks.extend(sinks)

    def begin(self) -> None:
        """All cameras are there: what is not ready from now on is told."""
        self._began = True

    def reload(self) -> None:
        """Open all inspectors anew, soon; any thread and a signal handler may call it."""
        self._care.reload()

    def not_ready(self) -> dict[str, str]:
        """Why which camera can't be relied on now; empty when all can."""
        if not self._began:
            return {"": "starting"}
        if self._stop.is_set():
            return {"": "stopping"}
        reasons = {name: pulse.not_ready() for name, pulse in self._pulses.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        reasons = self.not_ready()
        return {
            "ready": not reasons,
            "reasons": reasons,
            "troubles": troubles_of(self._sinks),
            "not_written": lost_by(self._sinks),
            "cameras": {name: pulse.to_json() for name, pulse in self._pulses.items()},
        }

    def close(self) -> None:
        """End the threads; a test that is under way is not waited for. Twice is once."""
        self._over.set()
        self._care.close()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        self._say_stopping()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Life:
        self._care.__enter__()
        self._thread.start()
        return self

    def _watch(self) -> None:
        pause = LOOK_S
        if self._notifier.watchdog_s is not None:
            pause = min(LOOK_S, self._notifier.watchdog_s / 4)
        extended_s = 0.0
        while not self._over.is_set():
            if not self._hung():
                self._notifier.alive()
                now = time.monotonic()
                if self._said != _READY and now - extended_s > _STARTING_S / 4:
                    extended_s = now
                    self._notifier.extend(_STARTING_S)
            if self._stop.is_set():
                self._say_stopping()
            elif self._began:
                self._tell()
            self._over.wait(pause)

    def _say_stopping(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._notifier.stopping()

    def _hung(self) -> bool:
        return any(pulse.hung() for pulse in self._pulses.values())

    def _tell(self) -> None:
        """Say what has changed: readiness, and what sinks cannot do."""
        reasons = self.not_ready()
        line = "; ".join(f"{name}: {why}" if name else why for name, why in reasons.items())
        said = strip_digits(f"not ready: {line}") if line else _READY
        if said != self._said:
            if line:
                _log.warning("not ready: %s", line)
            else:
                _log.info("ready")
                self._notifier.ready()
            self._said = said
        pulses = self._pulses.values()
        troubles = [each for pulse in pulses for each in troubles_of(pulse.sinks)]
        troubles += troubles_of(self._sinks)
        self._notifier.status("; ".join([f"not ready: {line}" if line else "ready", *troubles]))

    def _mark_reloading(self, begins: bool) -> None:
        if begins:
            self._notifier.reloading()
        elif self._said == _READY:
            self._notifier.ready()


@contextlib.contextmanager
def reload_on_hangup(life: Life) -> Iterator[None]:
    """Reload at each SIGHUP while the block runs; for a program's main thread alone."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        life.reload()

    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
