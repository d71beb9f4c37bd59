"""Whether this is a Jetson, and with which JetPack: what can be installed there depends on it."""

from __future__ import annotations

import re
from pathlib import Path

TEGRA_RELEASE = Path("/etc/nv_tegra_release")
JETPACK_OF_L4T = {35: 5, 36: 6, 38: 7, 39: 7}
"""NVIDIA's Linux for Tegra, by its major version."""


def tegra_release() -> str:
    """The release as the system says it, such as ``R36 (release), REVISION: 4.3``; empty if none.

    A container without the file counts as no Jetson: ``--runtime nvidia`` brings it along.
    """
    try:
        text = TEGRA_RELEASE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next(iter(text.splitlines()), "").lstrip("# ").strip()


def jetpack() -> int:
    """Major version of JetPack; 0 if this is no Jetson, or one of a release that nobody knows."""
    found = re.match(r"R(\d+)", tegra_release())
    return JETPACK_OF_L4T.get(int(found[1]), 0) if found else 0
