"""A folder that fills up by itself and never fills the disk: the oldest files make room."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from cameras.redaction import printable_path
from edge.options import RecordOptions
from edge.sinks.locks import PlaceLock
from edge.sinks.sink import SinkError, open_folder

MIB = 1 << 20
_AGAIN_S = 60.0  # before files that could not be removed are tried again
_log = logging.getLogger("edge.sinks")
_DEFAULTS = RecordOptions()
_OURS = re.compile(r"\d{8}T\d{6}\.\d{3}Z_\d+_[A-Z]+(_[A-Za-z0-9.-]+)*\.(jpg|png|json|avi|mp4|mkv)")
_HALF = re.compile(r"\d{8}T\d{6}\.\d{3}Z_.*\.part(\.[a-z]+)?")
_DAY = re.compile(r"\d{8}")


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """How much of a disk a folder may take.

    Attributes:
        max_bytes: of our files together.
        min_free_bytes: that stay free on the disk, whoever fills it.
    """

    max_bytes: int = _DEFAULTS.keep_mb * MIB
    min_free_bytes: int = _DEFAULTS.keep_free_mb * MIB


class DiskQuota:
    """Files by their day, ``FOLDER/20260131/NAME``; only what is named as ours is ever removed.

    The folder is this object's alone until `close`. A file that cannot be removed counts, and
    the next one makes room.

    Args:
        folder: made if it is not there; what an earlier run left in it counts, and half-written
            files are removed.
        limits: how much it may hold.

    Raises:
        SinkError: the folder cannot be made, read or written, or another program fills it.
    """

    def __init__(self, folder: str | os.PathLike[str], limits: DiskLimits | None = None) -> None:
        self._limits = limits or DiskLimits()
        self._folder = open_folder(folder)
        try:
            self._lock = PlaceLock(self._folder)
            self._files = deque(_find_our_files(self._folder))
        except OSError as error:
            raise SinkError(
                f"{printable_path(folder)}: {error.strerror}; name another folder"
            ) from error
        self._stuck: list[tuple[Path, int]] = []  # those that could not be removed
        self._stuck_s = 0.0
        self.used_bytes = sum(size for _, size in self._files)

    def close(self) -> None:
        """Let another program have the folder; a second call does nothing."""
        self._lock.close()

    def path_for(self, name: str) -> Path:
        """Where a file goes; its day's folder is there then.

        Args:
            name: begins with its day, such as ``20260131T101500.123Z_000012_NG.jpg``.

        Raises:
            OSError: the folder cannot be made.
        """
        day = self._folder / name[:8]
        day.mkdir(exist_ok=True)
        return day / name

    def make_room(self, size: int) -> None:
        """Remove the oldest files until so many bytes can be written.

        Raises:
            OSError: there is no room even without them.
        """
        self._try_again()
        while self._files and self.used_bytes + size > self._limits.max_bytes:
            self._remove_oldest()
        if size > self._limits.max_bytes:
            raise OSError(errno.ENOSPC, f"{size} bytes are more than the folder may hold")
        if self.used_bytes + size > self._limits.max_bytes:
            raise OSError(errno.ENOSPC, f"full, and {len(self._stuck)} files cannot be removed")
        min_free = self._limits.min_free_bytes
        while (free := self._free_bytes()) < min_free + size:
            if not self._files:
                what = f"{free // MIB} MiB free, of which {min_free // MIB} MiB must stay free"
                raise OSError(errno.ENOSPC, what)
            self._remove_oldest()

    def add(self, path: Path) -> int:
        """Count a file that has been written; return its size in bytes."""
        size = path.stat().st_size
        self._files.append((path, size))
        self.used_bytes += size
        return size

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def _remove_oldest(self) -> None:
        path, size = self._files.popleft()
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            if not self._stuck:
                self._stuck_s = time.monotonic()
                what = f"{printable_path(path)}: {error.strerror}"
                _log.error("%s: it cannot be removed; newer files make room for it", what)
            self._stuck.append((path, size))
            return
        self.used_bytes -= size
        if not self._files or self._files[0][0].parent != path.parent:
            _remove_if_empty(path.parent)

    def _try_again(self) -> None:
        """Let files that could not be removed be the oldest again, now and then."""
        if self._stuck and time.monotonic() - self._stuck_s > _AGAIN_S:
            self._files.extendleft(reversed(self._stuck))
            self._stuck.clear()


def _find_our_files(folder: Path) -> list[tuple[Path, int]]:
    """Our files with their sizes, oldest first; half-written ones are removed."""
    files = []
    for day in sorted(folder.iterdir()):
        if not (_DAY.fullmatch(day.name) and day.is_dir() and not day.is_symlink()):
            continue
        for path in sorted(day.iterdir()):
            if _HALF.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            elif _OURS.fullmatch(path.name) and not path.is_symlink() and path.is_file():
                files.append((path, path.stat().st_size))
    return files


def _remove_if_empty(day: Path) -> None:
    try:
        day.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT, errno.EEXIST):
            _log.debug("%s: %s", printable_path(day), error.strerror)
