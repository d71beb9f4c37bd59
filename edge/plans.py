"""A bundle's facts, and its plans: compiled ahead of time and for other machines, or listed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.precision.advice import note_where_fp16_is_faster
from calibrate.progress import Stages
from edge.fields import ParseError
from edge.options import CompileOptions
from engines.batches import largest_batch
from engines.bundle import Bundle
from engines.choose import AUTO, ENGINES
from engines.cuda import Cuda, Gpu, gpus
from engines.errors import BundleError, EngineError
from engines.gpu.context import GpuContext, Home
from engines.installing import how_to_compile_rtx
from engines.plans.builder import RTX_GPUS
from engines.plans.cache import UnusablePlanError, read_record, store_plan
from engines.plans.compile import compile_plan
from engines.plans.flavours import RTX, TENSORRT, import_flavour
from engines.plans.layers import executes, kernels
from engines.plans.plan import Compatible, CompileSettings, Plan
from engines.versions import history_of

_LEFT_OUT: dict[str, Any] = {
    **dict.fromkeys(("files", "golden", "figures", "threshold"), True),
    # Grids of numbers, which tell a reader nothing.
    "health": {"occluded": {"low", "high", "typical", "detail"}},
    "held_out": {"highest", "files", "learnt"},
}


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
            **self.plan.settings.model_dump(mode="json"),
            "batch": self.plan.images,
            "kernels": kernels(self.plan.layers),
            "size": len(self.plan.plan),
            "mark": self.mark,
            "notes": list(self.plan.notes),
            "seconds": round(self.seconds, 3),
        }


def compile_bundle(
    path: Path,
    *,
    options: CompileOptions,
    stages: Stages | None = None,
    say: Callable[[str], None] | None = None,
) -> list[CompiledPlan]:
    """Compile a bundle's graph and keep the plans in it.

    Args:
        path: the bundle's folder.
        options: which plans.
        stages: told about progress, a stage for each plan.
        say: receives what a user should know about a plan.

    Raises:
        BundleError: the bundle is missing or damaged, or cannot be written.
        ParseError: a GPU that TensorRT-RTX doesn't know.
        EngineError: no TensorRT here, or it doesn't take the graph as it is asked to.
    """
    stages = stages or Stages()
    bundle = Bundle.open(path)
    flavour, model = _flavour(options), bundle.model()
    settings = _settings(options, bundle, model)
    done = []
    with _current(options.device) as device:
        for target in _targets(flavour, options.gpu):
            begun = time.monotonic()
            with stages.stage(f"{flavour} {' '.join(target)}".rstrip()) as advance:
                plan = compile_plan(
                    model,
                    flavour=flavour,
                    gpu=target,
                    settings=settings,
                    device=device,
                    progress=advance,
                )
            plan = note_where_fp16_is_faster(plan, model)
            if say is not None:
                for note in plan.notes:
                    say(f"{flavour}: {note}")
            done.append(_store(bundle, plan, seconds=time.monotonic() - begun))
    return done


def check_rtx_gpus(names: Sequence[str]) -> None:
    """Refuse GPUs that TensorRT-RTX does not compile for.

    Raises:
        ParseError: one that it doesn't know.
    """
    wrong = [name for name in names if name not in RTX_GPUS]
    if wrong:
        raise ParseError(f"gpu {wrong[0]!r}: give one of {', '.join(RTX_GPUS)}")


def _store(bundle: Bundle, plan: Plan, *, seconds: float) -> CompiledPlan:
    try:
        path = store_plan(bundle.plans, plan)
    except OSError as error:
        raise BundleError(
            f"{bundle.plans}: the plan cannot be stored: {error.strerror}; check its permissions "
            "and the free space"
        ) from error
    return CompiledPlan(path, plan, read_record(path).mark, seconds)


def _targets(flavour: str, gpu: Sequence[str]) -> list[tuple[str, ...]]:
    if flavour == RTX:
        check_rtx_gpus(gpu)
    return [(name,) for name in gpu] or [()]


@contextmanager
def _current(number: int | None) -> Iterator[Gpu | None]:
    """The GPU of that number, made current: TensorRT compiles for the one that is.

    Raises:
        EngineError: there is no such GPU.
    """
    if number is None:
        yield None
        return
    found = gpus()
    if number >= len(found):
        there = ", ".join(f"{gpu.index} {gpu.name}" for gpu in found)
        raise EngineError(f"device {number}: there is no such GPU here, but {there}")
    context = GpuContext(Cuda.installed(), Home(number))
    try:
        with context:
            yield found[number]
    finally:
        context.close()


def _settings(options: CompileOptions, bundle: Bundle, model: bytes) -> CompileSettings:
    """What is asked for, in the builder's words."""
    if options.dla is not None and bundle.manifest.precision == "fp32":
        raise EngineError(
            f"{bundle.path}: its graph is fp32, and DLA computes no fp32; build it with "
            "--precision fp16, or leave out --dla"
        )
    version: tuple[Compatible, ...] = ("version",) if options.version_compatible else ()
    asked = CompileSettings(
        compatible=(*version, "hardware") if options.hardware_compatible else version,
        workspace_mib=options.workspace,
        optimization_level=options.optimization_level,
        dla=options.dla,
    )
    built_for = largest_batch(model, bundle.manifest.max_batch)
    return asked.with_images(options.max_batch or built_for)


def _flavour(options: CompileOptions) -> str:
    """The library to compile with; the reason of each that can't is told."""
    if options.device is not None and (options.engine == RTX or options.gpu):
        raise EngineError(
            f"device {options.device}: {RTX} compiles without a GPU; name the kind with --gpu alone"
        )
    if options.engine != AUTO:
        if options.engine == TENSORRT:
            reason = ENGINES[TENSORRT].unavailable_reason()
            if reason:
                raise EngineError(f"cannot compile with {TENSORRT}: {reason}")
        return options.engine
    problem: str | None = "it compiles for no other GPU"
    if not options.gpu:
        problem = ENGINES[TENSORRT].unavailable_reason()
    if problem is None:
        return TENSORRT
    if options.device is not None:
        raise EngineError(f"device {options.device}: {TENSORRT}: {problem}")
    try:
        import_flavour(RTX)
    except EngineError as error:
        raise EngineError(
            f"nothing compiles plans here: {TENSORRT}: {problem}; {RTX}: {error}; "
            f"{how_to_compile_rtx()}"
        ) from error
    return RTX


def bundle_info(path: Path) -> dict[str, Any]:
    """A bundle's facts by name, plain values; the bundle is checked as when it is loaded.

    Raises:
        BundleError: it is missing or damaged.
    """
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    plans = _plans(bundle)
    return {
        **manifest.model_dump(mode="json", exclude=_LEFT_OUT),
        "threshold": manifest.threshold.value,
        "threshold_facts": manifest.threshold.model_dump(mode="json", exclude={"value"}),
        "figures": dict(manifest.figures),
        "drawn_defects": manifest.drawn_defects.to_json() if manifest.drawn_defects else None,
        "history": [event.model_dump(mode="json") for event in history_of(path)],
        "golden": {image.file: image.score for image in manifest.golden},
        "model_mib": round(manifest.files["model.onnx"].size / 2**20, 2),
        "plans": [plan.name for plan in plans],
        "images_at_once": {plan.name: _images_of(plan) for plan in plans},
    }


def plan_layers(path: Path) -> dict[str, dict[str, Any]]:
    """What each plan of a bundle executes, layer by layer, as the sidecars say.

    Nothing is loaded, so nothing is decided: whether a plan is trusted is seen when it is run.

    Raises:
        BundleError: the bundle is missing or damaged.
    """
    return {plan.name: _plan_facts(plan) for plan in _plans(Bundle.open(path))}


def _plans(bundle: Bundle) -> list[Path]:
    return sorted(bundle.plans.glob("*.plan")) if bundle.plans.is_dir() else []


def _images_of(plan: Path) -> int | None:
    """How many images a plan takes at once, at most; None if its sidecar doesn't say."""
    try:
        return read_record(plan).images
    except UnusablePlanError:
        return None


def _plan_facts(plan: Path) -> dict[str, Any]:
    try:
        record = read_record(plan)
    except UnusablePlanError as error:
        return {"problem": str(error)}
    facts = record.model_dump(mode="json", exclude={"seal", "flavour"})
    return {
        "engine": record.flavour,
        "executes": executes(record.layers),
        "kernels": kernels(record.layers),
        "mark": record.mark,
        **facts,
        "batch": record.images,
    }
