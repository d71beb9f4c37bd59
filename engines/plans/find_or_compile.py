"""The plan that a GPU runs: the one that is kept, if every mark of it fits, or a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from engines.batches import largest_batch
from engines.cuda import Gpu
from engines.engine import EngineOptions, say_nothing
from engines.errors import EngineError
from engines.plans.builder import PORTABLE_FROM, RTX_GPUS
from engines.plans.cache import (
    PlanKey,
    UnusablePlanError,
    kept_settings,
    load_plan,
    store_plan,
)
from engines.plans.compile import DEFAULTS, compile_plan
from engines.plans.flavours import RTX, architecture, import_flavour
from engines.plans.layers import precision_problem
from engines.plans.plan import Plan, UnloadablePlanError

T = TypeVar("T")


def find_or_compile_plan(
    model: bytes,
    *,
    flavour: str,
    gpu: Gpu,
    options: EngineOptions,
    load: Callable[[Plan], T],
) -> T:
    """Load the plan from the cache if it fits and loads, or a new one; the reason is said.

    A plan may fit by all its marks and still be refused when it is loaded, after an update of the
    driver, say. It is replaced then, or the same would happen at each start.

    Args:
        model: serialised ONNX.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        gpu: that will run the plan.
        options: a plan that doesn't execute their precision is refused; their batch is the plan's
            where the graph takes as many.
        load: what to do with the plan; raises `UnloadablePlanError` if the library refuses it.

    Returns:
        What `load` gives.

    Raises:
        EngineError: no library, it doesn't take the graph, or the plan isn't what was asked for.
    """
    key = _key(model, flavour=flavour, gpu=gpu, images=largest_batch(model, options.batch))
    plan, reason = _find_plan(key, gpu=gpu, plans=options.plans)
    if plan is not None:
        try:
            return load(_checked(plan, options))
        except UnloadablePlanError as error:
            reason = f"the one that was kept is not taken any more ({error})"
    plan = _compile_and_keep(model, key, gpu=gpu, options=options, reason=reason)
    return load(_checked(plan, options))


def _compile_and_keep(
    model: bytes, key: PlanKey, *, gpu: Gpu, options: EngineOptions, reason: str
) -> Plan:
    """A new plan, as the one that it replaces was asked for with `edge compile`."""
    say, flavour = options.say or say_nothing, key.flavour
    say(f"{flavour}: compiling the plan: {reason}")
    here = (gpu.compute_capability,) if _has_target(flavour, gpu) else ()
    plain = asked = DEFAULTS.with_images(key.images)
    if options.plans is not None:
        kept = kept_settings(options.plans, replace(key, gpu=here))
        asked = kept.with_images(max(key.images, kept.images))
    compile_it = partial(
        compile_plan,
        model,
        flavour=flavour,
        gpu=here,
        device=None if flavour == RTX else gpu,
        progress=options.progress,
    )
    try:
        plan = compile_it(settings=asked)
    except EngineError as error:
        if asked == plain:
            raise
        say(f"{flavour}: compiling without what the old plan was compiled with: {error}")
        plan = compile_it(settings=plain)
    for note in plan.notes:
        say(f"{flavour}: {note}")
    if options.plans is not None:
        try:
            store_plan(options.plans, plan)
        except OSError as error:
            say(f"{flavour}: the plan is not kept: {error.strerror}: {error.filename}")
    return plan


def _checked(plan: Plan, options: EngineOptions) -> Plan:
    problem = precision_problem(plan.layers, options.precision)
    if problem:
        raise EngineError(f"{plan.flavour}: {problem}; build with another --precision")
    return plan


def _key(model: bytes, *, flavour: str, gpu: Gpu, images: int) -> PlanKey:
    return PlanKey(
        flavour=flavour,
        version=str(import_flavour(flavour).__version__),
        gpu=(gpu.compute_capability,),
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        device=gpu.name,
        driver=gpu.driver,
        images=images,
    )


def _find_plan(key: PlanKey, *, gpu: Gpu, plans: Path | None) -> tuple[Plan | None, str]:
    """A plan that may be loaded, or None and the reason why there is none."""
    if plans is None:
        return None, "no folder was given to keep a plan in"
    candidates = [key] if _has_target(key.flavour, gpu) else []
    if architecture(gpu.compute_capability) >= PORTABLE_FROM:
        candidates.append(replace(key, gpu=()))
    reasons = []
    for candidate in candidates:
        try:
            return load_plan(plans, candidate), ""
        except UnusablePlanError as error:
            reasons.append(str(error))
    # The reason of the plan for this very GPU tells more than that of the portable one.
    return None, next(iter(reasons), f"none can be for {gpu.compute_capability}")


def _has_target(flavour: str, gpu: Gpu) -> bool:
    """Whether a plan is made for this GPU alone; newer ones than listed take a portable plan."""
    return flavour != RTX or gpu.compute_capability in RTX_GPUS
