"""Plans for TensorRT-RTX, compiled ahead of time with the build."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from calibrate.progress import Stages
from edge.options import BuildOptions
from edge.plans import check_rtx_gpus
from engines.errors import EngineError
from engines.plans.compile import compile_plan
from engines.plans.layers import precision_problem
from engines.plans.plan import Plan

RTX = "tensorrt-rtx"


def check_gpu(gpu: Sequence[str]) -> None:
    """Find out before minutes of learning whether the plans that are wished for can be made."""
    check_rtx_gpus(gpu)
    if gpu and importlib.util.find_spec("tensorrt_rtx") is None:
        wanted = ", ".join(gpu)
        raise EngineError(
            f"no plan for {wanted}: tensorrt-rtx is not installed; pip install 'protoedge[rtx]'"
        )


def compile_plans(model: bytes, *, options: BuildOptions, stages: Stages) -> list[Plan]:
    """Compile for TensorRT-RTX ahead of time, GPU or not, where the package is installed."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return []
    targets: list[tuple[str, ...]] = [(name,) for name in options.gpu] or [()]
    with stages.stage(RTX) as advance:
        plans: list[Plan] = []

        def show(share: float) -> None:
            advance((len(plans) + share) / len(targets))

        for target in targets:
            plan = compile_plan(model, flavour=RTX, gpu=target, progress=show)
            problem = precision_problem(plan.layers, options.precision)
            if problem:
                raise EngineError(f"{RTX}: {problem}; build with another --precision")
            plans.append(plan)
        return plans
