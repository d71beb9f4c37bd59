"""How sources are called in messages, records and pictures: one line, no credentials."""

from __future__ import annotations

import os
import re
from pathlib import Path

_WORDS = r"(?:user|usr|login|name|pass|pwd|psw|token|key|auth|secret|sig|cred|session)"
_SECRET = re.compile(rf"([?&;#][^=&;#]*{_WORDS}[^=&;]*=)[^&;#]*", re.IGNORECASE)
# A property of a GStreamer element, quoted or up to the next space.
_PROPERTY = re.compile(
    rf"((?:^|[\s!])[\w-]*(?:{_WORDS}|user-id|user-pw|-pw)[\w-]*\s*=\s*)(\"(?:\\.|[^\"])*\"?|\S+)",
    re.IGNORECASE,
)
_BEGINNING = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_INSIDE = re.compile(r"(:/).*@", re.DOTALL)
_SCHEME = re.compile(r"((?:rtsps?|https?|rtmp|srt|ftp|tcp|udp|post|zmq|onvif)(?::/?|//))", re.I)


def redact_address(address: str) -> str:
    """Return an address without user, password and the query's secrets.

    Everything up to the last ``@`` goes, since cameras accept passwords with ``/``, ``?`` and
    ``@`` in them that no parser of addresses takes for a password. A mistyped address, such as one
    with a single slash, is treated alike. Too much hidden is harmless.
    """
    found = _BEGINNING.match(address)  # a later :// is the password's
    begin, rest = (found[0], address[found.end() :]) if found else _split_mistyped(address)
    _, at, host = rest.rpartition("@")
    return one_line(_SECRET.sub(r"\1***", f"{begin}{'***@' if at else ''}{host}"))


def redact_pipeline(pipeline: str) -> str:
    """Return a GStreamer pipeline without the users and passwords of its elements."""
    hidden = _INSIDE.sub(r"\1/***@", _PROPERTY.sub(r"\1***", pipeline))
    return one_line(_SECRET.sub(r"\1***", hidden))


def looks_like_address(text: str) -> bool:
    """Tell whether a text that names no file may be an address with a password in it."""
    return "@" in text and ":" in text.rpartition("@")[0]


def printable_path(path: str | os.PathLike[str]) -> str:
    """Return a path that can be printed and recorded, whatever bytes its name is made of."""
    try:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no file can be called so
        name = os.fspath(path)
    return one_line(name)


def one_line(text: str) -> str:
    """Return text with line breaks, control characters and lone surrogates escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def sort_key(path: Path) -> bytes:
    """Return what image paths are ordered by: their bytes, the same on every machine."""
    return os.fsencode(path)


def _split_mistyped(address: str) -> tuple[str, str]:
    """Split behind the scheme of an address without ``://``; what is no address is no rest."""
    if not looks_like_address(address):
        return address, ""
    found = _SCHEME.match(address)
    begin = found[1] if found else ""
    return begin, address[len(begin) :]
