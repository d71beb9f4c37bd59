"""This machine's secret: it seals what this machine made itself, and never leaves it."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

KEY_BYTES = 32


def machine_key() -> bytes:
    """The key, made at first use; readable by its user alone.

    A key that is cut short, or that others could read, proves nothing: a new one takes its place,
    and what the old one sealed is made again.

    Raises:
        OSError: the state folder cannot be read or written.
    """
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    path = Path(state) / "protoedge" / "plan.key"
    key = _kept(path)
    if key is None:
        _make(path)
        key = _kept(path)
    if key is None:
        raise OSError(0, "the key that was just made is not usable", str(path))
    return key


def _kept(path: Path) -> bytes | None:
    """The key; None after removing one that is no good."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    private = stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077
    key = path.read_bytes() if private and found.st_size == KEY_BYTES else b""
    if len(key) == KEY_BYTES and found.st_uid == os.geteuid():
        return key
    path.unlink(missing_ok=True)
    return None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"plan.key.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was quicker: its key counts
    finally:
        draft.unlink()
