"""Stages of long work: how far each is, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Show: TypeAlias = Callable[[str, float], None]
Advance: TypeAlias = Callable[[float], None]
Tell: TypeAlias = Callable[[str, str], None]


class Stages:
    """Times named stages and passes their progress on.

    Args:
        show: called with a stage's name and the share of it that is done, from 0 to 1.
        tell: called with a stage's name and a line on how it goes.
    """

    def __init__(self, show: Show | None = None, tell: Tell | None = None) -> None:
        self._show = show
        self._tell = tell
        self.seconds: dict[str, float] = {}

    def note(self, name: str, line: str) -> None:
        """Say how a stage goes, such as its loss and the time that is left."""
        if self._tell:
            self._tell(name, line)

    @contextmanager
    def stage(self, name: str) -> Iterator[Advance]:
        """Time what happens inside; call what it yields with the share done."""

        def advance(share: float) -> None:
            if self._show:
                self._show(name, share)

        begun = time.monotonic()
        advance(0.0)
        yield advance
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun
        advance(1.0)
