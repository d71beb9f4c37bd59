"""`edge compile`: a bundle's plans, made ahead of time and for other machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.progress import Stages
from edge.parse import ParseError
from engines.bundle import Bundle
from engines.choose import AUTO, ENGINES
from engines.errors import BundleError, EngineError
from engines.plans.builder import RTX_GPUS, Compatible
from engines.plans.cache import read_record, store_plan
from engines.plans.compile import Plan, compile_plan
from engines.plans.flavours import RTX, TENSORRT, import_flavour
from engines.plans.layers import executes, kernels


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the plans are to be.

    Attributes:
        engine: ``tensorrt``, ``tensorrt-rtx``, or ``auto``: TensorRT where it works here and no
            GPU is named, else TensorRT-RTX.
        gpu: a plan for each; none is the GPU that is here, or a portable plan with TensorRT-RTX.
        workspace_mib: most scratch memory of a kernel.
        version_compatible: newer libraries of the same major version load them too.
        hardware_compatible: any GPU from Ampere on does.
    """

    engine: str = AUTO
    gpu: tuple[str, ...] = ()
    workspace_mib: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False

    @property
    def compatible(self) -> tuple[Compatible, ...]:
        """In the builder's words."""
        version: tuple[Compatible, ...] = ("version",) if self.version_compatible else ()
        return (*version, "hardware") if self.hardware_compatible else version


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A plan beside its bundle.

    Attributes:
        path: of the plan.
        plan: what it is.
        mark: to be listed on other machines that are to load it.
        seconds: that it took.
    """

    path: Path
    plan: Plan
    mark: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The plan's facts for machines."""
        return {
            "plan": self.path.name,
            "engine": self.plan.flavour,
            "version": self.plan.version,
            "gpu": list(self.plan.gpu),
            "executes": executes(self.plan.layers),
            "typing": self.plan.typing,
            "compatible": list(self.plan.compatible),
            "kernels": kernels(self.plan.layers),
            "size": len(self.plan.plan),
            "mark": self.mark,
            "notes": list(self.plan.notes),
            "seconds": round(self.seconds, 3),
        }


def compile_bundle(
    path: Path,
    *,
    wishes: Wishes,
    stages: Stages | None = None,
    say: Callable[[str], None] | None = None,
) -> list[CompiledPlan]:
    """Compile a bundle's graph and keep the plans in it.

    Args:
        path: the bundle's folder.
        wishes: which plans.
        stages: told about progress, a stage for each plan.
        say: receives what a user should know about a plan.

    Raises:
        BundleError: the bundle is missing or damaged, or cannot be written.
        ParseError: a GPU that TensorRT-RTX doesn't know.
        EngineError: no TensorRT here, or it doesn't take the graph as it is asked to.
    """
    stages = stages or Stages()
    bundle = Bundle.open(path)
    flavour = _flavour(wishes)
    model = bundle.model()
    done = []
    for target in _targets(flavour, wishes.gpu):
        begun = time.monotonic()
        with stages.stage(f"{flavour} {' '.join(target)}".rstrip()) as advance:
            plan = compile_plan(
                model,
                flavour=flavour,
                gpu=target,
                workspace_mib=wishes.workspace_mib,
                compatible=wishes.compatible,
                progress=advance,
            )
        if say is not None:
            for note in plan.notes:
                say(f"{flavour}: {note}")
        done.append(_kept(bundle, plan, seconds=time.monotonic() - begun))
    return done


def _kept(bundle: Bundle, plan: Plan, *, seconds: float) -> CompiledPlan:
    try:
        path = store_plan(bundle.plans, plan)
    except OSError as error:
        raise BundleError(
            f"{bundle.plans}: the plan cannot be kept: {error.strerror}; check its permissions and "
            "the free space"
        ) from error
    return CompiledPlan(path, plan, read_record(path).mark, seconds)


def _targets(flavour: str, gpu: Sequence[str]) -> list[tuple[str, ...]]:
    if flavour == RTX:
        wrong = [name for name in gpu if name not in RTX_GPUS]
        if wrong:
            raise ParseError(f"gpu {wrong[0]!r}: give one of {', '.join(RTX_GPUS)}")
    return [(name,) for name in dict.fromkeys(gpu)] or [()]


def _flavour(wishes: Wishes) -> str:
    """The library to compile with; the reason of each that can't is told."""
    if wishes.engine != AUTO:
        if wishes.engine == TENSORRT:
            problem = ENGINES[TENSORRT].why_not()
            if problem:
                raise EngineError(f"cannot compile with {TENSORRT}: {problem}")
        return wishes.engine
    problem = "it compiles for no other GPU" if wishes.gpu else ENGINES[TENSORRT].why_not()
    if problem is None:
        return TENSORRT
    try:
        import_flavour(RTX)
    except EngineError as error:
        raise EngineError(
            f"nothing compiles plans here: {TENSORRT}: {problem}; {RTX}: {error}; "
            "pip install 'protoedge[rtx]'"
        ) from error
    return RTX
