"""Passwords of the bridges."""

from __future__ import annotations

from pathlib import Path

from edge.plc.station.snapshot import StationError
from process.plain_files import read_plain_text


def read_password(path: Path, *, bridge: str, user: str | None) -> str:
    """Read a password: a file, since what is in ``edge.toml`` ends up in backups and tickets.

    Args:
        path: its first line is the password.
        bridge: whose, for the message.
        user: whose, for the message.

    Raises:
        StationError: it cannot be read, or is empty.
    """
    try:
        lines = read_plain_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StationError(
            f"{bridge}: {path}: {reason}; write the password of {user} into it, one line"
        ) from error
    if not lines or not lines[0]:
        raise StationError(f"{bridge}: {path}: empty; write the password into it")
    return lines[0]
