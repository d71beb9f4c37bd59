"""A command that runs for months: its log, its life, and what it tells whoever asks."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from edge.config import Config
from edge.life import Life, LifeOptions, reload_on_hangup
from edge.logs import logging_to
from edge.monitor import Exposition, Monitor

Say = Callable[[str], None]


@contextlib.contextmanager
def living(
    config: Config, *, monitor: str | None, stop: threading.Event, say: Say
) -> Iterator[tuple[Life, Say]]:
    """Live as `edge.toml` has it; for a program's main thread alone.

    Args:
        config: its sections `life` and `log`.
        monitor: address of ``/healthz`` and ``/metrics``, in place of `life.monitor`.
        stop: set when the process shall end.
        say: takes lines for people, where there is no log.

    Yields:
        The life, and what takes lines for people: the log, where `log.format` asks for one.

    Raises:
        MonitorError: the address is none of this machine alone, or taken.
    """
    section = config.life
    options = LifeOptions(self_test_s=section.self_test_s, watch_bundles=section.watch_bundles)
    with contextlib.ExitStack() as stack:
        if config.log.format is not None:
            log = logging_to(form=config.log.format, level=config.log.level)
            say = stack.enter_context(log).info
        life = stack.enter_context(Life(options, stop=stop))
        if not _has_terminal():
            stack.enter_context(reload_on_hangup(life))
        address = monitor or section.monitor
        if address is not None:
            opened = stack.enter_context(Monitor(address, life.to_json, expose=_exposition(say)))
            say(f"http://{opened.host}:{opened.port}: /healthz and /metrics")
        yield life, say


def _exposition(say: Say) -> Exposition | None:
    if find_spec("prometheus_client") is None:
        say("no /metrics: pip install 'protoedge[metrics]'")
        return None
    from edge.metrics import metrics_from_report

    return metrics_from_report


def _has_terminal() -> bool:
    """Whether a hang-up means that somebody closed the terminal, and the command shall end."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
