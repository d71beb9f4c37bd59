"""All claims, in the order in which they are tried, and what came of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from calibrate.progress import Stages
from edge.prove.answers import (
    prove_executes,
    prove_parity,
    prove_prn,
    prove_reload,
    prove_together,
)
from edge.prove.claim import Claim, TriedClaim, try_claim
from edge.prove.frames import (
    prove_as_quick_as_trtexec,
    prove_graph,
    prove_no_allocation,
    prove_one_launch,
)
from edge.prove.ground import ProvingGround
from edge.prove.long_run import prove_revival, prove_two_cameras
from edge.prove.machine import (
    PRECISIONS,
    prove_fall_back,
    prove_rtx_compiles,
    prove_versions,
    versions_here,
)
from engines.choose import ENGINES
from engines.plans.flavours import MODULES

CLAIMS: tuple[Claim, ...] = (
    Claim("versions", prove_versions),
    *(
        Claim(f"{name} compiled and executed", partial(prove_executes, precision=name))
        for name in PRECISIONS
    ),
    *(
        Claim(f"{name} agrees with ONNX Runtime", partial(prove_parity, precision=name))
        for name in PRECISIONS
    ),
    Claim("four images at once agree with ONNX Runtime", prove_together),
    Claim("PRN agrees with ONNX Runtime", prove_prn),
    # After our first engine: a context that the compiler makes would not be ours to make anew.
    Claim("TensorRT-RTX compiles without a GPU", prove_rtx_compiles, needs_card=False),
    Claim("CUDA graph captured", prove_graph),
    Claim("one launch a frame", prove_one_launch),
    Claim("no allocation a frame", prove_no_allocation),
    Claim("plan reloaded without compiling", prove_reload),
    Claim("as quick as trtexec", prove_as_quick_as_trtexec),
    Claim("two cameras without growth", prove_two_cameras),
    Claim("falls back on the CPU and says so", prove_fall_back, needs_card=False),
    # The last: a GPU that doesn't come back takes all that follows with it.
    Claim("a lost GPU comes back", prove_revival),
)


@dataclass(frozen=True, slots=True)
class ProofReport:
    """What was proven on this machine.

    Attributes:
        engine: that was tried.
        why_no_card: why nothing could run on a GPU, and what to do; empty if it could.
        versions: of what is installed.
        claims: one for each of `CLAIMS`.
        seconds: in all.
    """

    engine: str
    why_no_card: str
    versions: dict[str, str]
    claims: tuple[TriedClaim, ...]
    seconds: float

    @property
    def outcome(self) -> Literal["proven", "failed", "no card"]:
        """The whole in a word; a failure counts more than a card that is missing."""
        if any(claim.state == "failed" for claim in self.claims):
            return "failed"
        return "no card" if self.why_no_card else "proven"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "outcome": self.outcome,
            "engine": self.engine,
            "why_no_card": self.why_no_card,
            "versions": self.versions,
            "claims": [claim.to_json() for claim in self.claims],
            "seconds": round(self.seconds, 1),
        }


def prove(
    engine: str, *, seconds: float, stages: Stages, claims: Sequence[Claim] = CLAIMS
) -> ProofReport:
    """Try every claim on this machine, in a folder that is gone afterwards.

    Args:
        engine: ``tensorrt`` or ``tensorrt-rtx``; ``auto`` takes the first that works here.
        seconds: how long two cameras are watched.
        stages: told about progress.
        claims: what to try.
    """
    begun = time.monotonic()
    flavour, why_no_card = choose_flavour(engine)
    with (
        tempfile.TemporaryDirectory(prefix="protoedge-proof-") as folder,
        ProvingGround(Path(folder), flavour, why_no_card, seconds=seconds) as ground,
    ):
        tried = try_claims(claims, ground, stages)
    return ProofReport(flavour, why_no_card, versions_here(), tried, time.monotonic() - begun)


def try_claims(
    claims: Sequence[Claim], ground: ProvingGround, stages: Stages
) -> tuple[TriedClaim, ...]:
    """Try claims one after the other."""
    tried = []
    for claim in claims:
        with stages.stage(claim.name):
            tried.append(try_claim(claim, ground))
    return tuple(tried)


def choose_flavour(engine: str) -> tuple[str, str]:
    """The TensorRT to prove, and why none can run here with what to do; empty if it can."""
    asked = [engine] if engine in MODULES else list(MODULES)
    reasons = {name: ENGINES[name].unavailable_reason() for name in asked}
    for name, reason in reasons.items():
        if reason is None:
            return name, ""
    told = "; ".join(filter(None, reasons.values()))
    return asked[0], f"{told}; {ENGINES[asked[0]].how_to_get()}"
