"""A claim about this machine, and what became of it when it was tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge.prove.errors import REPORT_IT, DisprovenError, NotPossibleError
from edge.prove.ground import ProvingGround

Proven = Literal["proven", "failed", "not possible here"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is to be true.

    Attributes:
        name: what, in a few words.
        prove: tries it, and says what was seen; raises `DisprovenError` or `NotPossibleError`.
        needs_card: it can't be tried without a GPU.
    """

    name: str
    prove: Callable[[ProvingGround], str]
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


def try_claim(claim: Claim, ground: ProvingGround) -> TriedClaim:
    """Try a claim; whatever goes wrong is the claim's failure, never this function's."""
    if claim.needs_card and ground.why_no_card:
        return TriedClaim(claim.name, "not possible here", "there is no card to try it on")
    begun = time.monotonic()
    try:
        detail = claim.prove(ground)
    except NotPossibleError as why:
        return TriedClaim(claim.name, "not possible here", _line(why), seconds=_since(begun))
    except DisprovenError as error:
        return TriedClaim(claim.name, "failed", _line(error), error.step, _since(begun))
    except Exception as error:  # noqa: BLE001  # the border: the other claims are tried all the same
        what, _, following = _line(error).partition("; ")
        return TriedClaim(claim.name, "failed", what, following or REPORT_IT, _since(begun))
    return TriedClaim(claim.name, "proven", detail, seconds=_since(begun))


def _line(error: Exception) -> str:
    """An error as one line; those of libraries with the name of their type."""
    text = " ".join(str(error).split())
    plain = isinstance(error, DisprovenError | NotPossibleError | ValueError | RuntimeError)
    return text if plain and text else f"{type(error).__name__}: {text}"


def _since(begun: float) -> float:
    return time.monotonic() - begun
