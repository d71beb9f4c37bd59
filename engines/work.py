"""What an engine does for one call besides computing: launches and copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Work:
    """Of one call with the graph's batch.

    Attributes:
        launches: steps that are started one by one: kernels of a GPU, primitives of a CPU engine;
            None where the engine doesn't tell.
        copies: between the caller's memory, the engine's and the device's.
        copied_bytes: by all copies together.
    """

    launches: int | None
    copies: int
    copied_bytes: int


@runtime_checkable
class Accountable(Protocol):
    """An engine that says what one call does; `edge bench` prints it."""

    def work(self) -> Work:
        """Of one call with the graph's batch."""
        ...
