"""Which files a bundle may have."""

from __future__ import annotations

import re


def path_problem(path: str) -> str:
    """Why a path may not name a file of a bundle, or an empty string.

    Only plain relative names with forward slashes pass: nothing absolute, hidden or going up.
    """
    parts = path.split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", part) for part in parts):
        return "is not a plain relative path"
    if parts[0] == "engines":
        return "lies under engines, which is a cache"
    if path == "manifest.json":
        return "is the manifest itself"
    return ""
