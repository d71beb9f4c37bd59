"""Files that somebody else named or laid there: opened only if they are plain and not too large.

A pipe would be waited for, opening a device may start something, and a sparse file of 100 GB takes
all the memory. So the name is asked first, the open waits for nothing, and what was opened is asked
again, since another may have taken the name meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MAX_FILE_BYTES = 2 << 30
"""Of a bundle's file, or a network's weights: what a serialised graph can have."""
MAX_TEXT_BYTES = 1 << 20
"""Of what people write: settings, passwords, certificates."""
_CHUNK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_plain_file(path: Path, *, max_bytes: int, follow_links: bool = True) -> bytes:
    """A plain file's content; see `open_plain_file`.

    Raises:
        OSError: as there, or it grew beyond the limit while it was read.
    """
    with open_plain_file(path, max_bytes=max_bytes, follow_links=follow_links) as file:
        # As much as it has: a limit's worth at once is more than some machines give.
        content = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
        while len(content) <= max_bytes and (more := file.read(_CHUNK)):
            content += more
    if len(content) > max_bytes:
        raise _too_large(path, len(content), max_bytes)
    return content


def read_plain_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """A plain file's content as UTF-8; the mark that Windows' editors put before it is left out.

    Raises:
        OSError: as `read_plain_file`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_plain_file(path, max_bytes=max_bytes).decode("utf-8-sig")


@contextmanager
def open_plain_file(path: Path, *, max_bytes: int, follow_links: bool = True) -> Iterator[BinaryIO]:
    """Open a plain file to read; nothing is waited for.

    Args:
        path: its name.
        max_bytes: that it may have.
        follow_links: whether the name may be a symbolic link; not in what came from elsewhere.

    Raises:
        OSError: it is missing, a link, something else than a file, too large, or unreadable; its
            `strerror` says which.
    """
    check_plain(path.stat() if follow_links else path.lstat(), path, max_bytes=max_bytes)
    descriptor = os.open(path, _OPEN | (0 if follow_links else os.O_NOFOLLOW))
    with os.fdopen(descriptor, "rb") as file:
        check_plain(os.fstat(descriptor), path, max_bytes=max_bytes)
        yield file


def sha256_of(path: Path) -> str:
    """SHA-256 of a plain file, read in pieces, as 64 hex digits.

    Raises:
        OSError: as `open_plain_file`.
    """
    digest = hashlib.sha256()
    with open_plain_file(path, max_bytes=MAX_FILE_BYTES) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_plain(found: os.stat_result, path: Path, *, max_bytes: int | None = None) -> None:
    """See that this is a plain file of a sane size.

    Raises:
        OSError: it is not; its `strerror` says what it is.
    """
    mode = found.st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {_kind_of(mode)}, not a plain file", str(path))
    if max_bytes is not None and found.st_size > max_bytes:
        raise _too_large(path, found.st_size, max_bytes)


def _kind_of(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _too_large(path: Path, size: int, max_bytes: int) -> OSError:
    problem = f"it has {size} bytes, more than the {max_bytes} that it may have"
    return OSError(errno.EFBIG, problem, str(path))
