"""Put a finished folder in another's place, so that a kill at any moment leaves the old or the new.

Linux can exchange two names in one step (``renameat2`` with ``RENAME_EXCHANGE``). Where the file
system cannot, the old folder is renamed aside first; if the process dies right then, `recover`
brings it back. Everything left over begins with a dot and the target's name.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

AT_FDCWD = -100
RENAME_EXCHANGE = 2
UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP})


@contextmanager
def staged_folder(target: Path, *, check: Callable[[], None] | None = None) -> Iterator[Path]:
    """A new folder beside `target`; put in its place if the block ends well, else removed.

    The folder is locked while the block runs: what carries no lock was left by a dead process,
    and the next writer removes it.

    Args:
        target: folder to create or replace; its parent exists.
        check: called right before, while no other writer can come between; what it raises leaves
            `target` as it is.

    Raises:
        OSError: the disk is full, read-only or failing; `target` is as before.
    """
    with locked(target.parent):
        recover(target)
        _remove_leftovers(target)
        folder = _beside(target, "new")
        folder.mkdir()
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
        _sync_tree(folder)
        with locked(target.parent):
            if check is not None:
                check()
            old = _put_in_place(folder, target)
            # The new one is in its place, whatever is said from here on: a file system that
            # cannot sync a folder is no failure.
            with suppress(OSError):
                sync_folder(target.parent)
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def recover(target: Path) -> bool:
    """Bring back a folder that a killed process had renamed aside; True if there was one."""
    if target.exists():
        return False
    for aside in sorted(target.parent.glob(f".{target.name}.old-*")):
        if not aside.is_dir():
            continue
        try:
            aside.rename(target)
        except FileNotFoundError:
            continue  # another process was quicker
        return True
    return False


def remove_folder(folder: Path) -> None:
    """Remove a folder; a kill on the way leaves nothing that could be taken for it."""
    with suppress(OSError):  # another process may remove it, too
        folder.rename(_beside(folder, "gone"))
    for left in folder.parent.glob(".*.gone-*"):
        shutil.rmtree(left, ignore_errors=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file anew, durably: the old or the new content survives a kill or a power cut.

    Raises:
        OSError: the disk is full, read-only or failing; the file is as before.
    """
    draft = _beside(path, "new")
    try:
        write_durably(draft, content)
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # nobody knows the draft's name
        raise
    sync_folder(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(target: Path, kind: str) -> Path:
    return target.parent / f".{target.name}.{kind}-{secrets.token_hex(6)}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers in `folder` out; for the short steps only."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(target: Path) -> None:
    """Remove what dead writers left; called with the parent locked and `target` recovered."""
    for left in target.parent.glob(f".{target.name}.*-*"):
        kind = left.name.removeprefix(f".{target.name}.").partition("-")[0]
        if kind not in ("new", "old"):
            continue
        if not left.is_dir() or left.is_symlink():
            left.unlink(missing_ok=True)
        elif kind == "old" or not _is_locked(left):
            shutil.rmtree(left, ignore_errors=True)


def _is_locked(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _put_in_place(folder: Path, target: Path) -> Path | None:
    """Swap the two; returns where the old folder is now, or None if there was none."""
    if not target.exists():
        folder.rename(target)
        return None
    if _exchange(folder, target):
        return folder
    aside = _beside(target, "old")
    target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        aside.rename(target)
        raise
    return aside


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(other))


@cache
def _renameat2() -> Any:
    """The C library's ``renameat2`` (glibc 2.28 and later), or None."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_uint,
        )
        function.restype = ctypes.c_int
    return function


def _sync_tree(folder: Path) -> None:
    """Sync every folder below and the folder itself; its files were written durably."""
    for below in folder.rglob("*"):
        if below.is_dir():
            sync_folder(below)
    sync_folder(folder)
