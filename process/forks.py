"""What was made before a fork does not work after it: threads stay behind, locks stay held."""

from __future__ import annotations

import os


class Birthplace:
    """The process in which something was made."""

    def __init__(self) -> None:
        self._process_id = os.getpid()

    def why_not_here(self) -> str:
        """Why what was made there cannot be used in this process; empty where it was made here."""
        here = os.getpid()
        if here == self._process_id:
            return ""
        return (
            f"made in process {self._process_id}, before this one, {here}, was forked from it: its "
            "threads did not come along; load it in each process, such as in a pool's initializer"
        )
