"""One program at a time writes to a place: two would replace or crowd out each other's files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cameras.redaction import printable_path
from edge.sinks.sink import SinkError

_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PlaceLock:
    """Keeps others out of a folder, or away from a file, until it is closed or its process is gone.

    A folder is locked itself. For a file, which comes and goes under its name, ``.NAME.lock`` lies
    beside it meanwhile. A disk that knows no locks has none.

    Args:
        place: a folder that is there, or a file in one.

    Raises:
        SinkError: another one writes there.
        OSError: the folder cannot be read or written.
    """

    def __init__(self, place: Path) -> None:
        self._file = None if place.is_dir() else place.with_name(f".{place.name}.lock")
        if self._file is None:
            self._lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            self._lock = os.open(self._file, _LOCK, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SinkError(
                f"{printable_path(place)}: another program, or another option of this one, writes "
                "there already; name another place"
            ) from None
        except OSError:
            return
        if self._file is not None and not _stands_for(self._file, self._lock):
            # The one before us removed it between our opening and our locking it.
            os.close(self._lock)
            raise SinkError(
                f"{printable_path(place)}: another program has just written there; try again"
            )

    def close(self) -> None:
        """Let others in; a second call does nothing."""
        if self._lock < 0:
            return
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


def _stands_for(path: Path, descriptor: int) -> bool:
    """Whether a name still is the file that is open."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
