"""A file of lines that is appended to for months: rotated, followed, whole after a full disk."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

_LOOK_S = 1.0
_RETRY_S = 10.0


class RotatedFile:
    """Lines, in the file as soon as they are written.

    When a line would make it larger than `most_bytes`, ``NAME`` becomes ``NAME.1``, which was
    before ``NAME.2`` and so on. A file that another program has moved away or removed is noticed
    within a second, and begun anew.

    Args:
        path: the file.
        append: keep what is in it; otherwise it is replaced. A line that a kill cut off there is
            ended first.
        most_bytes: size of each file; None = no limit.
        kept: older files beside it, at least 1.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        append: bool = True,
        most_bytes: int | None = None,
        kept: int = 9,
    ) -> None:
        self._path = Path(path)
        self._most_bytes = most_bytes
        self._kept = kept
        self._file = self._open(0 if append else os.O_TRUNC)
        self._size = os.fstat(self._file).st_size
        self._torn = self._ends_within_a_line()
        self._look_s = time.monotonic() + _LOOK_S
        self._rotate_s = 0.0

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
            self._follow()
        full = self._most_bytes is not None and self._size + len(line) >= self._most_bytes
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

    def _open(self, how: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags | how, 0o644)

    def _ends_within_a_line(self) -> bool:
        if self._size == 0:
            return False
        with self._path.open("rb") as file:
            file.seek(self._size - 1)
            return file.read(1) != b"\n"

    def _follow(self) -> None:
        """Open the file anew if its name no longer stands for it."""
        mine = os.fstat(self._file)
        if not stat.S_ISREG(mine.st_mode):
            return
        with contextlib.suppress(FileNotFoundError):
            named = self._path.stat()
            if (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino):
                return
        self._reopen()

    def _reopen(self) -> None:
        file = self._open(0)
        os.close(self._file)
        self._file = file
        self._size = os.fstat(file).st_size
        self._torn = self._ends_within_a_line()

    def _rotate(self, now: float) -> None:
        """Move the files on; where that is impossible, this one grows and it is tried later."""
        self._rotate_s = now + _RETRY_S
        try:
            for number in range(self._kept - 1, 0, -1):
                older = self._numbered(number)
                if older.exists():
                    older.replace(self._numbered(number + 1))
            self._path.replace(self._numbered(1))
            self._reopen()
        except OSError:
            return
        self._rotate_s = 0.0

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
