"""The log of a command that runs for months: lines for people, or JSON for machines."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, TextIO

from cameras.redaction import one_line, redact_address
from edge.options import LogFormat, LogLevel

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """``2026-01-31T10:15:00.123Z warning edge.sinks: what happened``, no credentials."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows in more."""
        line = f"{_time_of(record)} {record.levelname.lower()} {record.name}: {_message(record)}"
        if record.exc_info:
            line += "\n" + without_credentials(self.formatException(record.exc_info))
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever happens."""
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = value
        if record.exc_info:
            line["traceback"] = without_credentials(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


@contextmanager
def logging_to(
    stream: TextIO | None = None, *, form: LogFormat = "text", level: LogLevel = "info"
) -> Iterator[logging.Logger]:
    """Log to a stream while the block runs; the logger is for what is said to people.

    Args:
        stream: default stderr.
        form: ``text`` or ``json``.
        level: what is below is left out.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield logging.getLogger("edge")
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def without_credentials(text: str) -> str:
    """Text whose addresses have no user, password or token, whoever wrote it."""
    return _ADDRESS.sub(lambda found: redact_address(found[0]), text)


def _message(record: logging.LogRecord) -> str:
    return one_line(without_credentials(record.getMessage()))


def _time_of(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, timezone.utc)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
