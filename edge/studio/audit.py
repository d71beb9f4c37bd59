"""Who changed what, and who was refused: lines that outlive a loss of power and fill no disk."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import OrderedDict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge.sinks.rotated_file import RotatedFile
from edge.studio.refusals import StudioError

MAX_BYTES = 4 * 2**20
KEPT = 9
"""Older files: with 36 MiB, about 200 000 changes."""
MAX_REFUSED_BYTES, REFUSED_KEPT = 2**20, 3
"""Refusals have a file of their own: whoever provokes them pushes no change out of the record."""
MAX_TEXT = 300  # characters of a value
REPEATED_S = 60.0
"""Within which the same refusal is counted, and not written again."""
_MAX_REFUSALS = 16  # kinds that are counted at once; further ones are counted together
_TAIL_BYTES = 256 * 1024


class Audit:
    """Appends lines; any thread may call.

    A refusal that comes again within a minute is counted; the number stands in a line of its own
    when the minute is over.

    Args:
        path: the file.

    Raises:
        StudioError: it cannot be written, or another program writes to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._has_failed = False
        self._refused: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._refused_path = path.with_name(f"{path.stem}.refused{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = RotatedFile(path, max_bytes=MAX_BYTES, backups=KEPT, daily=False)
            self._refusals = RotatedFile(
                self._refused_path, max_bytes=MAX_REFUSED_BYTES, backups=REFUSED_KEPT, daily=False
            )
        except OSError as error:
            raise StudioError(
                f"studio.audit: {path}: cannot be written: {error.strerror or error}; without a "
                "record of who changes what the studio does not begin"
            ) from error

    def write(self, *, who: str, address: str, what: str, outcome: str, **details: Any) -> None:
        """Write that somebody changed something, or that a job ended.

        Args:
            who: a name of the token file, or ``local``.
            address: where the request came from.
            what: path of the request, or name of the job.
            outcome: ``done``, ``refused``, ``failed`` and so on.
            details: what else is known; texts are cut.

        Raises:
            OSError: it is not on the disk.
        """
        with self._lock:
            self._write_change(who=who, address=address, what=what, outcome=outcome, **details)

    def refuse(self, *, who: str, address: str, what: str, why: str) -> None:
        """Write that a request was refused, once a minute for each address and reason.

        A disk that takes nothing more makes no refusal fail.
        """
        now = time.monotonic()
        with self._lock, contextlib.suppress(OSError):
            self._write_counts(now)
            key = (address, why)
            if key not in self._refused and len(self._refused) >= _MAX_REFUSALS:
                key = ("several", "refused")
            if key in self._refused:
                since_s, count = self._refused[key]
                self._refused[key] = since_s, count + 1
                return
            self._refused[key] = now, 0
            told = {"who": who, "address": address, "what": what, "outcome": "refused"}
            _append(self._refusals, **told, why=why)

    def is_writable(self) -> bool:
        """Whether the last line got onto the disk; after a failure a further one is tried."""
        with self._lock, contextlib.suppress(OSError):
            if self._has_failed:
                told = {"who": "", "address": "", "what": "audit", "outcome": "writable again"}
                self._write_change(**told)
        return not self._has_failed

    def last(self, count: int) -> list[dict[str, Any]]:
        """The last changes and refusals, the newest first; lines that are torn are left out."""
        with self._lock:
            found = _entries(self._path, count) + _entries(self._refused_path, count)
        return sorted(found, key=lambda one: str(one.get("when", "")), reverse=True)[:count]

    def close(self) -> None:
        """Write the counts that are left, and close the file."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._write_counts(float("inf"))
            self._file.close()
            self._refusals.close()

    def _write_counts(self, now: float) -> None:
        """Write how often what was refused a minute ago has come since."""
        while self._refused:
            (address, why), (since_s, count) = next(iter(self._refused.items()))
            if now - since_s < REPEATED_S:
                return
            self._refused.popitem(last=False)
            if count:
                told = {"who": "", "address": address, "what": "", "outcome": "refused"}
                _append(self._refusals, **told, why=why, times=count)

    def _write_change(self, **entry: Any) -> None:
        self._has_failed = True
        _append(self._file, **entry)
        self._has_failed = False


def _append(file: RotatedFile, **entry: Any) -> None:
    """Write a line and see that it is on the disk.

    Raises:
        OSError: it is not.
    """
    when = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = json.dumps({"when": when, **{key: _short(one) for key, one in entry.items()}})
    file.write(line.encode())
    file.sync()


def _short(value: Any) -> Any:
    """What a line keeps of a value; others than plain ones as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _entries(path: Path, count: int) -> list[dict[str, Any]]:
    """The last entries of a file and the one before it, the newest first."""
    data = _tail(path)
    if data.count(b"\n") < count:
        data = _tail(path.with_name(f"{path.name}.1")) + data
    found: list[dict[str, Any]] = []
    for line in reversed(data.splitlines()):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                found.append(entry)
        if len(found) == count:
            break
    return found


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read(_TAIL_BYTES)
    except OSError:
        return b""
