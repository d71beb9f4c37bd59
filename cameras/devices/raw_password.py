"""Passwords as people write them into addresses: with characters that would end the host's part."""

from __future__ import annotations

import re
from urllib.parse import quote

_HOST = re.compile(r"(?:\[[0-9a-f:.%]+\]|[^\s:\[\]@/?#]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_CODED = re.compile(r"(%[0-9a-f]{2})", re.IGNORECASE)


def encode_raw_password(address: str) -> str:
    """Return an address whose user and password have their ``#``, ``/``, ``?`` and ``@`` encoded.

    What comes before the first of ``/?#`` and is a host leaves the address as it is: an ``@`` may
    stand in a path or a query. Otherwise everything up to the last ``@`` is user and password.
    Since no camera is ever sent what follows a ``#``, a host right before one is none.
    """
    begin, mark, rest = address.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    _, _, host = authority.rpartition("@")
    is_host = _HOST.fullmatch(host) is not None and rest[len(authority) :][:1] != "#"
    credentials, at, rest = rest.rpartition("@")
    if is_host or not at:
        return address
    user, colon, password = credentials.partition(":")
    return f"{begin}{mark}{_encode(user)}{colon}{_encode(password)}@{rest}"


def _encode(text: str) -> str:
    """Encode what is not encoded yet."""
    return "".join(
        part if _CODED.fullmatch(part) else quote(part, safe="!$&'()*+,;=~")
        for part in _CODED.split(text)
    )
