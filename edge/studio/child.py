"""The process in which a job works; `edge.studio.jobs` starts it."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeAlias

from cameras.parent_link import tie_to_parent
from process.signals import Ended, hearing_signals

JobInput: TypeAlias = dict[str, Any]
"""What a job is given, and what comes of it: plain values that JSON can carry."""


class JobReport:
    """What a job tells of how it goes; any thread may call.

    Args:
        descriptor: of the pipe to the studio.
    """

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def stage(self, name: str, share: float) -> None:
        """Say how far a stage is, from 0 to 1."""
        self.tell(stage=name, share=round(share, 3))

    def note(self, name: str, line: str) -> None:
        """Say how a stage goes."""
        self.tell(stage=name, line=line)

    def say(self, line: str) -> None:
        """Say a line for people."""
        self.tell(say=line)

    def tell(self, **entry: Any) -> None:
        """Tell one thing; see `edge.studio.jobs`."""
        with self._lock:
            self._pipe.write(json.dumps(entry) + "\n")
            self._pipe.flush()


JobWork: TypeAlias = Callable[[JobInput, JobReport], JobInput]
"""A function at the top of a module that does a job in a process of its own."""


def main(arguments: Sequence[str]) -> int:
    """Do a job: module, function, pipe; what it is given comes as JSON on standard input."""
    tie_to_parent()
    module, name, pipe = arguments
    os.set_inheritable(int(pipe), False)
    report = JobReport(int(pipe))
    try:
        with hearing_signals():
            work: JobWork = getattr(import_module(module), name)
            report.tell(result=work(json.load(sys.stdin), report))
    except Ended as ended:
        return 128 + ended.number
    except Exception as error:  # noqa: BLE001  # the border: every error becomes a line
        report.tell(error=_line_from_error(error))
        return 1
    return 0


def _line_from_error(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    if isinstance(error, ValueError | RuntimeError):
        return " ".join(str(error).split())
    return f"internal error, {type(error).__name__}: {error}; please report it"
