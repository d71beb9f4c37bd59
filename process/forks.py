"""What was made before a fork does not work after it: threads stay behind, locks stay held."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn


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
            "threads did not come along; make it in each process, such as in a pool's initializer"
        )


def in_children(renew: Callable[[], object]) -> None:
    """Call this in every process that is forked from this one, before anything else there.

    Args:
        renew: makes anew what a thread that did not come along may have held, such as a lock.
    """
    os.register_at_fork(after_in_child=renew)


def refuse_to_pickle(kind: str, instead: str) -> NoReturn:
    """Say why what holds threads, locks or a device cannot be pickled or copied.

    Args:
        kind: what it is, such as ``an inspector``.
        instead: what to do.

    Raises:
        TypeError: always, as `pickle` does.
    """
    raise TypeError(f"{kind} lives in one process and cannot be pickled or copied; {instead}")
