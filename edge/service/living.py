"""A command that runs for months: its log, its life, and what it tells whoever asks."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge.config import Config
from edge.service.gallery import Galleries
from edge.service.http_server import open_monitor
from edge.service.log_format import logging_to
from edge.service.supervisor import Life, LifeOptions, reload_on_hangup

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Living:
    """What a command that lives has.

    Attributes:
        life: watches over it.
        say: takes lines for people: the log, where `log.format` asks for one.
        galleries: of the page; None where nobody can see it.
    """

    life: Life
    say: Say
    galleries: Galleries | None


@contextlib.contextmanager
def living(config: Config, *, stop: threading.Event, say: Say) -> Iterator[Living]:
    """Live as `edge.toml` has it; for a program's main thread alone.

    Args:
        config: its sections `life` and `log`.
        stop: set when the process shall end.
        say: takes lines for people, where there is no log.

    Raises:
        MonitorError: no such address, others reach it and there is no token, or it is taken.
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
        galleries = Galleries() if section.monitor else None
        opened = open_monitor(section, life.to_json, pictures=galleries, say=say)
        stack.enter_context(opened)
        yield Living(life, say, galleries)


def _has_terminal() -> bool:
    """Whether a hang-up means that somebody closed the terminal, and the command shall end."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
