"""Why a claim is not proven."""

from __future__ import annotations

REPORT_IT = "report it with the output of `edge doctor --prove`"


class DisprovenError(Exception):
    """A claim that doesn't hold.

    Args:
        seen: instead.
        step: what to do next.
    """

    def __init__(self, seen: str, step: str = REPORT_IT) -> None:
        super().__init__(seen)
        self.step = step


class NotPossibleError(Exception):
    """A claim that can't be tried on this machine; the message is the reason."""
