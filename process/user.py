"""Who is at work here."""

from __future__ import annotations

import getpass
import re
import socket

MAX_NAME = 100


def user_at_host() -> str:
    """Such as ``anna@line3``; the machine alone where the user has no name, as in containers."""
    try:
        return shown_name(f"{getpass.getuser()}@{socket.gethostname()}")
    except (OSError, KeyError):
        return shown_name(socket.gethostname())


def shown_name(name: str) -> str:
    """A name as it is kept and shown: the environment, or who signs in at a page, says anything."""
    return re.sub(r"[^\w.@ -]", "?", name)[:MAX_NAME]
