"""Whether a process of another is still there."""

from __future__ import annotations

import time
from pathlib import Path


def gone(process_id: int, within_s: float = 60.0) -> bool:
    """Whether a process ends; a zombie has ended: whoever inherits it has not yet looked."""
    limit = time.monotonic() + within_s
    while time.monotonic() < limit:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False
