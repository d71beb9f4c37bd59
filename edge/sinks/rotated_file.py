"""A file of lines that is appended to for months: rotated, followed, whole after a full disk.

As the standard library's `RotatingFileHandler`, `TimedRotatingFileHandler` and
`WatchedFileHandler` do it, with two differences: a line that a full disk or a kill cut off never
swallows the next one, and where files cannot be renamed the lines still come.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from datetime import date
from pathlib import Path

_LOOK_S = 1.0
_RETRY_S = 10.0
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})  # some network disks
_OPEN = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY


class RotatedFile:
    """Lines, in the file as soon as they are written.

    When a line would make it larger than `max_bytes`, and with the first one of a day, ``NAME``
    becomes ``NAME.1``, which was before ``NAME.2`` and so on. A day is one of the machine's clock.
    A file that another program has moved away is noticed within a second, one that was removed
    with the next line, and begun anew; where that is impossible, each line is an error until its
    place is back.

    The file is locked: two programs that write to one would replace each other's lines. A pipe or
    a terminal is written to as it is, if somebody reads it.

    Args:
        path: the file.
        append: keep what is in it; otherwise it is replaced. A line that a kill cut off there is
            ended first.
        max_bytes: size of each file; None = no limit.
        backups: older files beside it, at least 1.
        daily: begin a file with the first line of each day, too.

    Raises:
        OSError: it cannot be opened, or another program writes to it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        append: bool = True,
        max_bytes: int | None = None,
        backups: int = 9,
        daily: bool = True,
    ) -> None:
        self._daily = daily
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._backups = backups
        self._look_s = time.monotonic() + _LOOK_S
        self._rotate_s = 0.0
        self._file = -1
        self._size = 0
        self._torn = self._is_rotated = False
        self._day = date.min  # of the last line
        self._open(truncate=not append)

    def write(self, line: bytes) -> None:
        """Append a line.

        Args:
            line: without its end.

        Raises:
            OSError: it is not in the file, or only in part; the next one begins a new line.
        """
        now = time.monotonic()
        if now >= self._look_s or self._was_removed():
            if self._was_moved():
                self._look_s = 0.0  # and again with the next line, if this fails
                self._open()
            self._look_s = now + _LOOK_S
        full = self._max_bytes is not None and self._size + len(line) >= self._max_bytes
        today = _day_of(time.time())
        is_new_day = self._daily and today != self._day
        if (full or is_new_day) and self._size and now >= self._rotate_s:
            self._rotate(now)
        self._day = today
        self._append(line)
        if self._was_removed() and self._was_moved():  # meanwhile: the line is nowhere
            self._look_s = 0.0
            self._open()
            self._append(line)

    def sync(self) -> None:
        """See that the lines outlive a loss of power.

        Raises:
            OSError: the disk refuses.
        """
        os.fsync(self._file)

    def _append(self, line: bytes) -> None:
        data = (b"\n" if self._torn else b"") + line + b"\n"
        written = os.write(self._file, data)
        if self._is_rotated:
            self._size += written
        self._torn = written != len(data) and (written > 0 or self._torn)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes written; is the disk full?")

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self, *, truncate: bool = False) -> None:
        """Open it, in place of the one that is open."""
        # A pipe that nobody reads would be waited for: then this says so.
        file = os.open(self._path, _OPEN | os.O_NONBLOCK, 0o644)
        try:
            _claim(file, truncate=truncate)
        except OSError:
            os.close(file)
            raise
        self.close()
        self._file = file
        found = os.fstat(file)
        self._is_rotated = stat.S_ISREG(found.st_mode)  # a pipe must keep its name
        self._size, self._day = found.st_size, _day_of(found.st_mtime)
        self._torn = self._size > 0 and _last_byte(self._path) != b"\n"

    def _was_removed(self) -> bool:
        """Whether the file has no name any more: what is written to it is nowhere."""
        return self._file < 0 or os.fstat(self._file).st_nlink == 0

    def _was_moved(self) -> bool:
        """Whether the file's name no longer stands for it."""
        if self._file < 0:
            return True
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


def _claim(file: int, *, truncate: bool) -> None:
    """Lock a file that was just opened, so that no other program writes to it.

    Raises:
        OSError: another one does, or a disk's own blocks would be written over.
    """
    os.set_blocking(file, True)
    mode = os.fstat(file).st_mode
    if stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a disk, not a file")
    if not stat.S_ISREG(mode):
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EWOULDBLOCK, "another program writes to it") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    if truncate:
        os.ftruncate(file, 0)


def _day_of(unix_s: float) -> date:
    """The day on the machine's clock."""
    return date.fromtimestamp(unix_s)


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
