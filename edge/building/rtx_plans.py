"""Plans for TensorRT-RTX, compiled ahead of time with the build."""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from calibrate.precision.advice import note_where_fp16_is_faster
from calibrate.progress import Stages
from edge.options import BuildOptions
from edge.plans import check_rtx_gpus
from edge.result import Say
from engines.atomic_files import replace_file
from engines.batches import largest_batch
from engines.errors import EngineError
from engines.installing import how_to_compile_rtx
from engines.plans.cache import read_record, store_plan
from engines.plans.compile import DEFAULTS, compile_plan
from engines.plans.layers import precision_problem
from engines.plans.plan import Plan, PlanFacts

RTX = "tensorrt-rtx"


def check_gpu(gpu: Sequence[str]) -> None:
    """Find out before minutes of learning whether the plans that are wished for can be made."""
    check_rtx_gpus(gpu)
    if gpu and importlib.util.find_spec("tensorrt_rtx") is None:
        wanted = ", ".join(gpu)
        raise EngineError(
            f"no plan for {wanted}: tensorrt-rtx is not installed; {how_to_compile_rtx()}"
        )


def compile_plans(
    model: bytes, *, compiled: Sequence[Path], options: BuildOptions, stages: Stages, say: Say
) -> list[Plan]:
    """Compile for TensorRT-RTX ahead of time, GPU or not, where the package is installed.

    Args:
        model: serialised ONNX.
        compiled: files of the plan that the deployed engine has compiled for itself; not again.
        options: the GPUs, the precision and the largest batch.
        stages: told about progress.
        say: receives what a user should know of a plan, such as that fp16 would be faster.
    """
    batch = largest_batch(model, options.max_batch)
    if batch < options.max_batch:
        say(f"--max-batch {options.max_batch}: this graph takes one image at a time, as do --tiles")
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return []
    known = {path.stem for path in compiled}
    targets: list[tuple[str, ...]] = [
        (name,) for name in options.gpu if f"{RTX}-{name}" not in known
    ]
    if not (options.gpu or compiled):
        targets = [()]
    for line in _notes_of_compiled(compiled, model):
        say(f"{RTX}: {line}")
    if not targets:
        return []
    with stages.stage(RTX) as advance:
        plans: list[Plan] = []

        def show(share: float) -> None:
            advance((len(plans) + share) / len(targets))

        for target in targets:
            plan = compile_plan(
                model,
                flavour=RTX,
                gpu=target,
                settings=DEFAULTS.with_images(batch),
                progress=show,
            )
            problem = precision_problem(plan.layers, options.precision)
            if problem:
                raise EngineError(f"{RTX}: {problem}; build with another --precision")
            plans.append(plan if plans else note_where_fp16_is_faster(plan, model))
    for note in dict.fromkeys(note for plan in plans for note in plan.notes):
        say(f"{RTX}: {note}")
    return plans


def _notes_of_compiled(compiled: Sequence[Path], model: bytes) -> tuple[str, ...]:
    """Whether fp16 is expected to be faster than what this GPU is to run."""
    found: list[str] = []
    for path in compiled:
        if path.suffix == ".plan" and path.name.startswith(RTX):
            record = read_record(path).model_dump(include=set(PlanFacts.model_fields))
            plan = Plan(plan=b"", **{**record, "notes": ()})
            found += note_where_fp16_is_faster(plan, model).notes
    return tuple(found)


def store_plans(
    folder: Path, plans: Sequence[Plan], *, compiled: Sequence[Path], say: Say
) -> tuple[str, ...]:
    """Keep plans beside a bundle: a cache, without which they are compiled at the first start.

    Args:
        folder: of the bundle's plans.
        plans: compiled ahead of time.
        compiled: files of the plan that the deployed engine has compiled for itself.
        say: receives a line if they cannot be kept, such as by a user without a home folder.

    Returns:
        The names of those that were kept.
    """
    kept: list[str] = []
    try:
        for plan in plans:
            kept.append(store_plan(folder, plan).name)
        for file in compiled:
            replace_file(_made(folder) / file.name, file.read_bytes())
            kept += [file.name] if file.suffix == ".plan" else []
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(
            f"no plan was stored: {where}{error.strerror}; the bundle is whole, and the plan is "
            f"compiled at the first start; {_way_out(error)}"
        )
    return tuple(kept)


def _way_out(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space"
    return "set XDG_STATE_HOME to a folder that can be written"


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
