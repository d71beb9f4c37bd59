"""Modules that a library would load for what is never asked of it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Hiding(MetaPathFinder):
    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.get_ident()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is hidden", name=name)
        return None


@contextlib.contextmanager
def hidden_module(name: str) -> Iterator[None]:
    """A block in which this thread finds no such module, as if it were not installed.

    One that is loaded already stays; what the block loads goes on without it.

    Args:
        name: of the top-level module.
    """
    hiding = _Hiding(name)
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)
