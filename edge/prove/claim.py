"""A claim about this machine, and what became of it when it was tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from edge.prove.ground import Ground

Proven = Literal["proven", "failed", "not possible here"]


class DisprovenError(Exception):
    """A claim that doesn't hold: what was seen instead, and after a semicolon what to do next."""


class NotPossibleError(Exception):
    """A claim that can't be tried on this machine; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is to be true.

    Attributes:
        name: what, in a few words.
        prove: tries it, and says what was seen; raises `DisprovenError` or `NotPossibleError`.
        needs_card: it can't be tried without a GPU.
    """

    name: str
    prove: Callable[[Ground], str]
    needs_card: bool = True


@dataclass(frozen=True, slots=True)
class TriedClaim:
    """A row of the table.

    Attributes:
        name: the claim's.
        state: what became of it.
        detail: what was seen, or why it can't be tried; one line.
        next: what to do; empty unless it failed.
        seconds: that it took.
    """

    name: str
    state: Proven
    detail: str
    next: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The row as JSON types."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def try_claim(claim: Claim, ground: Ground) -> TriedClaim:
    """Try a claim; whatever goes wrong is the claim's failure, never this function's."""
    if claim.needs_card and ground.why_no_card:
        return TriedClaim(claim.name, "not possible here", ground.why_no_card)
    begun = time.monotonic()
    try:
        detail = claim.prove(ground)
    except NotPossibleError as why:
        return TriedClaim(claim.name, "not possible here", _line(why), seconds=_since(begun))
    except Exception as error:  # noqa: BLE001  # the border: the other claims are tried all the same
        what, _, following = _line(error).partition("; ")
        step = following or "report it with the output of `edge doctor`"
        return TriedClaim(claim.name, "failed", what, step, _since(begun))
    return TriedClaim(claim.name, "proven", detail, seconds=_since(begun))


def _line(error: Exception) -> str:
    """An error as one line; those of libraries with the name of their type."""
    text = " ".join(str(error).split())
    plain = isinstance(error, DisprovenError | NotPossibleError | ValueError | RuntimeError)
    return text if plain and text else f"{type(error).__name__}: {text}"


def _since(begun: float) -> float:
    return time.monotonic() - begun
