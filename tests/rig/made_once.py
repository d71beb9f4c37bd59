"""What takes seconds to make, made once for all workers of a test run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker who wants it makes; read-only for all.

    Args:
        factory: of the run's temporary folders.
        name: of the folder, in one of its own.
        make: fills it; it is not there yet.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    home = root / f"once-{name}"
    with (root / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            draft = root / f"draft-{os.getpid()}-{name}"
            draft.mkdir()
            make(draft / name)
            draft.rename(home)
    return home / name
