"""The plan that a GPU runs: the one that is kept, if every mark of it fits, or a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engines.cuda import Gpu
from engines.engine import Precision
from engines.errors import EngineError
from engines.layers import precision_problem
from engines.plan import RTX_GPUS, Plan, compile_plan
from engines.plan_cache import UnusablePlanError, Wanted, load_plan, store_plan
from engines.tensorrt_module import RTX, import_flavour


def plan_for(
    model: bytes,
    *,
    flavour: str,
    precision: Precision,
    gpu: Gpu,
    plans: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Plan:
    """The plan from the cache if it fits, or a new one; the reason is said either way.

    Args:
        model: serialised ONNX.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        precision: of the graph; a plan that doesn't execute it is refused.
        gpu: that will run the plan.
        plans: folder that keeps the plan; None compiles anew each time.
        say: receives a line when a plan is compiled, with the reason.

    Raises:
        EngineError: no library, it doesn't take the graph, or the plan isn't what was asked for.
    """
    plan = _kept_or_new(model, flavour=flavour, gpu=gpu, plans=plans, say=say or _silently)
    problem = precision_problem(plan.layers, precision)
    if problem:
        raise EngineError(f"{flavour}: {problem}; build with another --precision")
    return plan


def _kept_or_new(
    model: bytes, *, flavour: str, gpu: Gpu, plans: Path | None, say: Callable[[str], None]
) -> Plan:
    here = (gpu.compute_capability,) if _has_target(flavour, gpu) else ()
    reason = "no folder was given to keep a plan in"
    if plans is not None:
        version = str(import_flavour(flavour).__version__)
        digest = hashlib.sha256(model).hexdigest()
        wanted = Wanted(flavour=flavour, version=version, gpu=here, onnx_sha256=digest)
        try:
            return load_plan(plans, wanted)
        except UnusablePlanError as error:
            reason = str(error)
        if flavour == RTX and gpu.compute_capability != "sm75":
            try:
                return load_plan(plans, replace(wanted, gpu=()))
            except UnusablePlanError as error:
                reason = reason if here else str(error)  # the nearer plan's reason tells more
    say(f"{flavour}: compiling the plan: {reason}")
    plan = compile_plan(model, flavour=flavour, gpu=here)
    if plans is not None:
        try:
            store_plan(plans, plan)
        except OSError as error:
            say(f"{flavour}: the plan is not kept: {error.strerror}: {error.filename}")
    return plan


def _has_target(flavour: str, gpu: Gpu) -> bool:
    """Whether a plan is made for this GPU alone; newer ones than listed take a portable plan."""
    return flavour != RTX or gpu.compute_capability in RTX_GPUS


def _silently(line: str) -> None:
    """Say nothing: what the caller gets when it gave no `say`."""
