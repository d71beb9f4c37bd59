"""How long to wait before a camera that failed is opened again, in every mode."""

from __future__ import annotations

PAUSES_S = (0.5, 1.0, 2.0, 5.0)
"""Seconds from a camera's failure to the next try, the last one for ever."""


def pause_after(failures: int) -> float:
    """Seconds to wait.

    Args:
        failures: in a row before this one, without a picture between them.
    """
    return PAUSES_S[min(failures, len(PAUSES_S) - 1)]
