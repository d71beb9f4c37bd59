"""Supervises a long-running inspection: ready, tested, exchanged, watched, stopped.

One thread looks every quarter of a second whether all is well, and tells systemd and the log;
another one tests and exchanges the inspectors. Neither stands between a frame and its verdict.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.config import Config
from edge.inspection.upkeep import Upkeep
from edge.options import LifeOptions
from edge.result import Say
from edge.service.camera_status import CameraStatus, count_lost, troubles_from_sinks
from edge.service.gallery import Galleries
from edge.service.http_server import open_monitor
from edge.service.log_format import logging_to
from edge.service.signals import call_on_hangup, has_terminal
from edge.service.systemd import SystemdNotifier
from edge.sinks.losses import strip_digits
from edge.sinks.sink import Sink
from process.threads import FAILURES, GuardedThread

LOOK_S = 0.25
_STARTING_S = 30.0
_READY = "ready"
_CLOSE_S = 0.3
_log = logging.getLogger("edge.service.supervisor")


@dataclass(frozen=True, slots=True)
class Supervised:
    """Resources of a supervised command.

    Attributes:
        supervisor: of its cameras.
        say: takes lines for people: the log, where `log.format` asks for one.
        galleries: of the page; None where nobody can see it.
    """

    supervisor: Supervisor
    say: Say
    galleries: Galleries | None


@contextlib.contextmanager
def supervised(
    config: Config, *, stop: threading.Event, say: Say, keep: Path | None = None
) -> Iterator[Supervised]:
    """Log, supervise and listen as `edge.toml` has it; for a program's main thread alone.

    Args:
        config: its sections `life` and `log`.
        stop: set when the process shall end.
        say: takes lines for people, where there is no log.
        keep: folder of kept parts, whose pictures the page has.

    Raises:
        MonitorError: no such address, others reach it and there is no token, or it is taken.
    """
    with contextlib.ExitStack() as stack:
        if config.log.format is not None:
            log = logging_to(form=config.log.format, level=config.log.level)
            say = stack.enter_context(log).info
        supervisor = stack.enter_context(Supervisor(config.life, stop=stop))
        if not has_terminal():
            stack.enter_context(call_on_hangup(supervisor.reload))
        galleries = Galleries(keep=keep) if config.life.monitor else None
        opened = open_monitor(config.life, supervisor.to_json, pictures=galleries, say=say)
        stack.enter_context(opened)
        yield Supervised(supervisor, say, galleries)


class Supervisor(AbstractContextManager["Supervisor"]):
    """Watches over the cameras that are added to it, from `with` to its end.

    Args:
        options: when inspectors are tested and exchanged.
        stop: set when the process shall end.
        notifier: what systemd hears.
    """

    def __init__(
        self,
        options: LifeOptions,
        *,
        stop: threading.Event,
        notifier: SystemdNotifier | None = None,
    ) -> None:
        self._stop = stop
        self._notifier = notifier or SystemdNotifier()
        self._cameras: dict[str, CameraStatus] = {}
        self._sinks: list[Sink] = []
        self._upkeep = Upkeep(
            self_test_s=options.self_test_s,
            watch_bundles=options.watch_bundles,
            on_reload=self._notify_reload,
        )
        self._over = threading.Event()
        self._began = self._stopping = False
        self._born_s = time.monotonic()
        self._said = ""
        self._thread = GuardedThread(self._watch, name="edge-watch")

    def add_camera(self, status: CameraStatus, *, bundle: Path | None = None) -> None:
        """Watch over a camera and its inspector.

        Args:
            status: of the camera.
            bundle: the folder that is watched for a newer one.
        """
        self._cameras[status.name] = status
        self._upkeep.add(status.inspector, bundle=bundle)

    def add_shared_sinks(self, sinks: Sequence[Sink]) -> None:
        """Watch over sinks that all cameras share."""
        self._sinks.extend(sinks)

    def begin(self) -> None:
        """All cameras are there: what is not ready from now on is told."""
        self._began = True

    def reload(self) -> None:
        """Open all inspectors anew, soon; any thread and a signal handler may call it."""
        self._upkeep.reload()

    def not_ready_reasons(self) -> dict[str, str]:
        """Why which camera can't be relied on now; empty when all can."""
        if not self._began:
            return {"": "starting"}
        if self._stop.is_set():
            return {"": "stopping"}
        reasons = {name: status.not_ready_reason() for name, status in self._cameras.items()}
        troubled = {name: reason for name, reason in reasons.items() if reason}
        return troubled | FAILURES.reasons(since_s=self._born_s)

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        reasons = self.not_ready_reasons()
        return {
            "ready": not reasons,
            "reasons": reasons,
            "troubles": troubles_from_sinks(self._sinks),
            "not_written": count_lost(self._sinks),
            "thread_failures": FAILURES.count,
            "cameras": {name: status.to_json() for name, status in self._cameras.items()},
        }

    def close(self) -> None:
        """End the threads; a test that is under way is not waited for. Twice is once."""
        self._over.set()
        self._upkeep.close()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        self._notify_stopping()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Supervisor:
        self._upkeep.__enter__()
        self._thread.start()
        return self

    def _watch(self) -> None:
        pause = LOOK_S
        if self._notifier.watchdog_s is not None:
            pause = min(LOOK_S, self._notifier.watchdog_s / 4)
        extended_s = 0.0
        while not self._over.is_set():
            if not any(status.hang_reason() for status in self._cameras.values()):
                self._notifier.alive()
                now = time.monotonic()
                if self._said != _READY and now - extended_s > _STARTING_S / 4:
                    extended_s = now
                    self._notifier.extend(_STARTING_S)
            if self._stop.is_set():
                self._notify_stopping()
            elif self._began:
                self._tell()
            self._over.wait(pause)

    def _tell(self) -> None:
        """Say what has changed: readiness, and what sinks cannot do."""
        reasons = self.not_ready_reasons()
        line = "; ".join(f"{name}: {why}" if name else why for name, why in reasons.items())
        line = f"not ready: {line}" if line else _READY
        if strip_digits(line) != self._said:
            self._said = strip_digits(line)
            if reasons:
                _log.warning("%s", line)
            else:
                _log.info("%s", line)
                self._notifier.ready()
        troubles = [trouble for one in self._cameras.values() for trouble in one.troubles()]
        self._notifier.status("; ".join([line, *troubles, *troubles_from_sinks(self._sinks)]))

    def _notify_stopping(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._notifier.stopping()

    def _notify_reload(self, begins: bool) -> None:
        if begins:
            self._notifier.reloading()
        elif self._said == _READY:
            self._notifier.ready()
