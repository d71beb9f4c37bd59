"""How sources are called in messages, records and pictures: one line, no credentials."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SECRET = re.compile(
    r"([?&;][^=&;]*(?:user|usr|login|name|pass|pwd|psw|token|key|auth|secret|sig|cred|session)"
    r"[^=&;]*=)[^&;#]*",
    re.IGNORECASE,
)


def redacted(address: str) -> str:
    """Return an address without user, password and the query's secrets.

    Everything up to the last ``@`` goes, since cameras accept passwords with ``/``, ``?`` and
    ``@`` in them that no parser of addresses takes for a password. Too much hidden is harmless.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return one_line(address)
    _, at, host = rest.rpartition("@")
    return one_line(_SECRET.sub(r"\1***", f"{scheme}://{'***@' if at else ''}{host}"))


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path that can be printed and recorded, whatever bytes its name is made of."""
    return one_line(os.fsencode(path).decode("utf-8", "backslashreplace"))


def one_line(text: str) -> str:
    """Return text with line breaks, control characters and lone surrogates escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def sort_key(path: Path) -> bytes:
    """Return what image paths are ordered by: their bytes, the same on every machine."""
    return os.fsencode(path)
