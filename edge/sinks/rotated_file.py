"""A file of lines that is appended to for months: rotated, followed, whole after a full disk.

As the standard library's `RotatingFileHandler` and `WatchedFileHandler` do it, with two
differences: a line that a full disk or a kill cut off never swallows the next one, and where
files cannot be renamed the lines still come.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import time
from pathlib import Path

_LOOK_S = 1.0
_RETRY_S = 10.0
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class RotatedFile:
    """Lines, in the file as soon as they are written.

    When a line would make it larger than `max_bytes`, ``NAME`` becomes ``NAME.1``, which was
    before ``NAME.2`` and so on. A file that another program has moved away or removed is noticed
    within a second, and begun anew.

    Args:
        path: the file.
        append: keep what is in it; otherwise it is replaced. A line that a kill cut off there is
            ended first.
        max_bytes: size of each file; None = no limit.
        backups: older files beside it, at least 1.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        append: bool = True,
        max_bytes: int | None = None,
        backups: int = 9,
    ) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._backups = backups
        self._look_s = time.monotonic() + _LOOK_S
        self._rotate_s = 0.0
        self._file = -1
        self._size = 0
        self._torn = False
        self._open(0 if append else os.O_TRUNC)

    def write(self, line: bytes) -> None:
        """Append a line.

        Args:
            line: without its end.

        Raises:
            OSError: it is not in the file, or only in part; the next one begins a new line.
        """
        now = time.monotonic()
        if now >= self._look_s:
            self._look_s = now + _LOOK_S
            if self._was_moved():
                self._open()
        full = self._max_bytes is not None and self._size + len(line) >= self._max_bytes
        if full and self._size and now >= self._rotate_s:
            self._rotate(now)
        data = (b"\n" if self._torn else b"") + line + b"\n"
        written = os.write(self._file, data)
        self._size += written
        self._torn = written != len(data) and (written > 0 or self._torn)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes written; is the disk full?")

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self, how: int = 0) -> None:
        """Open it, in place of the one that is open."""
        file = os.open(self._path, _APPEND | how, 0o644)
        self.close()
        self._file = file
        self._size = os.fstat(file).st_size
        self._torn = self._size > 0 and _last_byte(self._path) != b"\n"

    def _was_moved(self) -> bool:
        """Whether the file's name no longer stands for it."""
        ours = os.fstat(self._file)
        if not stat.S_ISREG(ours.st_mode):
            return False
        with contextlib.suppress(FileNotFoundError):
            return not os.path.samestat(ours, self._path.stat())
        return True

    def _rotate(self, now: float) -> None:
        """Move the files on; where that is impossible, this one grows and it is tried later."""
        self._rotate_s = now + _RETRY_S
        older = [self._path.with_name(f"{self._path.name}.{n + 1}") for n in range(self._backups)]
        try:
            for before, after in reversed([*itertools.pairwise([self._path, *older])]):
                with contextlib.suppress(FileNotFoundError):
                    before.replace(after)
            self._open()
        except OSError:
            return
        self._rotate_s = 0.0


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
