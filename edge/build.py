"""Build: from a folder of good images to a bundle."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calibrate.backbones.backbone import Backbone, load_backbone
from calibrate.dataset import Dataset, dataset_from_folder
from calibrate.features import default_layers
from calibrate.images import Roi, Size, Skipped, fitted_batches, usable_images
from calibrate.learning import Learnt, Recipe, learn
from calibrate.protoad import Score
from calibrate.prototypes import Method
from calibrate.stages import Stages
from calibrate.threshold import Threshold, threshold_from_scores
from cameras.names import shown
from edge.build_report import build_report
from edge.measure import Measured, measure, png_from_image
from edge.parse import ParseError
from edge.result import Image
from engines import manifest as records
from engines.bundle import Bundle, write_bundle
from engines.choose import AUTO, Choice, choice, open_engine
from engines.engine import Engine, Precision
from engines.errors import EngineError
from engines.layers import precision_problem
from engines.plan import RTX_GPUS, Plan, compile_plan
from engines.plan_cache import store_plan

RTX = "tensorrt-rtx"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may decide; the defaults are those of the command.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        backbone: ``bundled`` or the path of an ONNX file.
        layers: stages of the backbone; empty = those that measured best.
        size: (height, width) in px of the model's images.
        roi: (x, y, width, height) in px of the camera's picture; None = all of it.
        prototypes: at most how many.
        method: ``coreset`` or ``finch``.
        score: ``smoothed`` or ``raw``: which map's maximum is the score.
        false_rejects: rate of good parts that may be rejected.
        min_area: smallest region that rejects, in px of the camera's picture.
        engine: ``auto`` or the name of one.
        gpu: architectures to compile TensorRT-RTX plans for, one plan each; empty = one portable.
        memory_mib: most memory for patches.
        seed: of every draw.
    """

    precision: Precision = "fp16"
    backbone: str = "bundled"
    layers: tuple[str, ...] = ()
    size: Size = (256, 256)
    roi: Roi | None = None
    prototypes: int = 4096
    method: Method = "coreset"
    score: Score = "smoothed"
    false_rejects: float = 0.001
    min_area: int = 0
    engine: str = AUTO
    gpu: tuple[str, ...] = ()
    memory_mib: int = 1024
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A finished build.

    Attributes:
        bundle: as it was written.
        threshold: and what can be said for it.
        measured: figures on labelled images; None without any.
        skipped: images that could not be used.
        why_engine: which engine, and why not a better one.
        plans: compiled, by name.
        seconds: in all, and by stage.
    """

    bundle: Bundle
    threshold: Threshold
    measured: Measured | None
    skipped: tuple[Skipped, ...]
    why_engine: str
    plans: tuple[str, ...]
    seconds: float
    stages: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The build's object for machines."""
        manifest = self.bundle.manifest
        return {
            "bundle": str(self.bundle.path),
            "model": manifest.model,
            "precision": manifest.precision,
            "prototypes": manifest.prototypes,
            "threshold": self.threshold.value,
            "false_reject_bound": self.threshold.bound,
            "warning": self.threshold.warning,
            "seconds": round(self.seconds, 3),
            "stages": {name: round(value, 3) for name, value in self.stages.items()},
            "engines": [manifest.deployed_engine, *self.plans],
            "engine_reason": self.why_engine,
            "figures": dict(manifest.figures),
            "images": manifest.images.used,
            "skipped": {str(item.path): item.reason for item in self.skipped},
        }


def build(
    images: Path,
    output: Path,
    *,
    options: Options,
    stages: Stages | None = None,
    say: Callable[[str], None] | None = None,
) -> Built:
    """Learn an inspector from a folder and write its bundle.

    Args:
        images: a folder of good images, or one in MVTec's layout, whose labelled images are then
            measured too.
        output: the bundle's folder; what is there stays until the new one is complete.
        options: what the user decided.
        stages: told about progress.
        say: receives lines that a user should see.

    Raises:
        DatasetError, ImagesError, ImageError, BackboneError, PrecisionError: bad input.
        ParseError: a GPU that TensorRT-RTX doesn't know.
        EngineError: the engine can't work here.
        BundleError: the bundle can't be written.
    """
    stages, say, begun = stages or Stages(), say or _silently, time.monotonic()
    job = _job(images, output, options=options, stages=stages, say=say)
    outcome = _outcome(job, stages=stages)
    plans = _plans(outcome.learnt.model, options=options, stages=stages)
    manifest = _manifest(job, outcome)
    files = _files(manifest, outcome, seconds=stages.seconds)
    bundle = write_bundle(output, manifest=manifest, files=files)
    return Built(
        bundle=bundle,
        threshold=outcome.threshold,
        measured=outcome.measured,
        skipped=job.skipped,
        why_engine=job.engine.reason,
        plans=tuple(store_plan(bundle.plans, plan).name for plan in plans),
        seconds=time.monotonic() - begun,
        stages=stages.seconds,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be built, all of it checked."""

    name: str
    options: Options
    recipe: Recipe
    backbone: Backbone
    engine: Choice
    dataset: Dataset
    usable: tuple[Path, ...]
    skipped: tuple[Skipped, ...]

    def open(self, model: bytes, precision: Precision) -> Engine:
        """Open the deployed engine on a graph."""
        return open_engine(model, engine=self.engine.name, precision=precision)


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What was learnt, and how the deployed engine does with it."""

    learnt: Learnt
    threshold: Threshold
    measured: Measured | None
    golden: list[tuple[records.GoldenImage, Image]]
    executes: str


def _job(
    images: Path,
    output: Path,
    *,
    options: Options,
    stages: Stages,
    say: Callable[[str], None],
) -> _Job:
    _check_gpu(options.gpu)
    backbone = load_backbone(options.backbone)
    engine = choice(options.engine)
    dataset = dataset_from_folder(images)
    for note in dataset.notes:
        say(note)
    recipe = _recipe(options, backbone)
    with stages.stage("images"):
        usable, skipped = usable_images(dataset.train, size=recipe.size, roi=recipe.roi)
    for item in skipped:
        say(f"skipped: {item.reason}")
    name = shown(output.name.removesuffix(".edge"))
    return _Job(name, options, recipe, backbone, engine, dataset, usable, skipped)


def _outcome(job: _Job, *, stages: Stages) -> _Outcome:
    recipe = job.recipe
    learnt = learn(job.backbone, job.usable, recipe=recipe, open_engine=job.open, stages=stages)
    threshold = threshold_from_scores(learnt.held_out, false_rejects=job.options.false_rejects)
    with job.open(learnt.model, recipe.precision) as engine:
        measured = _measured(engine, job.dataset, recipe=recipe, threshold=threshold, stages=stages)
        golden = _golden(engine, job.usable, measured, recipe=recipe)
        return _Outcome(learnt, threshold, measured, golden, engine.executes)


def _manifest(job: _Job, outcome: _Outcome) -> records.Manifest:
    recipe, backbone = job.recipe, job.backbone
    return records.Manifest(
        name=job.name,
        created=datetime.now(timezone.utc),
        protoedge=importlib.metadata.version("protoedge"),
        model="protoad",
        precision=recipe.precision,
        deployed_engine=job.engine.name,
        executes=outcome.executes,
        size=recipe.size,
        roi=_roi_record(recipe.roi),
        backbone=records.BackboneRecord(
            name=backbone.name, sha256=backbone.sha256, stages=tuple(backbone.stages)
        ),
        prototypes=len(outcome.learnt.prototypes),
        method=recipe.method,
        layers=recipe.layers,
        seed=recipe.seed,
        score_kind=recipe.score,
        threshold=_threshold_record(outcome.threshold),
        min_area=job.options.min_area,
        figures=_figures(outcome.measured),
        golden=tuple(record for record, _ in outcome.golden),
        images=records.ImageCounts(used=len(job.usable), skipped=len(job.skipped)),
        notes=(job.engine.reason,),
    )


def _files(
    manifest: records.Manifest, outcome: _Outcome, *, seconds: Mapping[str, float]
) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {"model.onnx": outcome.learnt.model}
    files |= {record.file: png_from_image(image) for record, image in outcome.golden}
    report = build_report(
        manifest,
        threshold=outcome.threshold,
        learnt=outcome.learnt,
        measured=outcome.measured,
        seconds=seconds,
    )
    files["report.html"] = report.encode()
    return files


def _check_gpu(gpu: Sequence[str]) -> None:
    """Find out before minutes of learning whether the plans that are wished for can be made."""
    wrong = [name for name in gpu if name not in RTX_GPUS]
    if wrong:
        raise ParseError(f"gpu {wrong[0]!r}: give one of {', '.join(RTX_GPUS)}")
    if gpu and importlib.util.find_spec("tensorrt_rtx") is None:
        wanted = ", ".join(gpu)
        raise EngineError(
            f"no plan for {wanted}: tensorrt-rtx is not installed; pip install 'protoedge[rtx]'"
        )


def _silently(_: str) -> None:
    """Say nothing."""


def _recipe(options: Options, backbone: Backbone) -> Recipe:
    return Recipe(
        precision=options.precision,
        size=options.size,
        layers=options.layers or default_layers(backbone),
        roi=options.roi,
        prototypes=options.prototypes,
        method=options.method,
        score=options.score,
        seed=options.seed,
        memory_mib=options.memory_mib,
    )


def _measured(
    engine: Engine, dataset: Dataset, *, recipe: Recipe, threshold: Threshold, stages: Stages
) -> Measured | None:
    if not dataset.test:
        return None
    with stages.stage("labelled images") as advance:
        return measure(
            engine,
            dataset.test,
            size=recipe.size,
            roi=recipe.roi,
            threshold=threshold.value,
            progress=advance,
        )


def _golden(
    engine: Engine, good: Sequence[Path], measured: Measured | None, *, recipe: Recipe
) -> list[tuple[records.GoldenImage, Image]]:
    """A good image and a bad one with the scores that the deployed engine gives them."""
    sound = next(fitted_batches(good[:1], size=recipe.size, roi=recipe.roi))[0]
    rows = measured.rows if measured else ()
    defective = max(
        (row for row in rows if row.title != "good"), key=lambda row: row.score or 0, default=None
    )
    bad = defective.image if defective else _spoilt(sound)
    images: tuple[tuple[Literal["good", "bad"], Image], ...] = (("good", sound), ("bad", bad))
    golden = []
    for kind, image in images:
        score = float(engine.infer(image[None])[1][0])
        record = records.GoldenImage(file=f"golden/{kind}.png", score=score, kind=kind)
        golden.append((record, image))
    return golden


def _spoilt(image: Image) -> Image:
    """A good image with a chequered square painted in: no defect is known, one must be seen."""
    spoilt = image.copy()
    height, width = image.shape[0] // 4, image.shape[1] // 4
    rows, columns = np.indices((height, width)) // 8
    chequers = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    spoilt[height : 2 * height, width : 2 * width] = chequers[..., None]
    return spoilt


def _plans(model: bytes, *, options: Options, stages: Stages) -> list[Plan]:
    """Compile for TensorRT-RTX ahead of time, GPU or not, where the package is installed."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return []
    targets: list[tuple[str, ...]] = [(name,) for name in options.gpu] or [()]
    with stages.stage(RTX) as advance:
        plans = []
        for target in targets:
            plan = compile_plan(model, flavour=RTX, gpu=target)
            problem = precision_problem(plan.layers, options.precision)
            if problem:
                raise EngineError(f"{RTX}: {problem}; build with another --precision")
            plans.append(plan)
            advance(len(plans) / len(targets))
        return plans


def _roi_record(roi: Roi | None) -> records.Roi | None:
    if roi is None:
        return None
    x, y, width, height = roi
    return records.Roi(x=x, y=y, width=width, height=height)


def _threshold_record(threshold: Threshold) -> records.ThresholdRecord:
    return records.ThresholdRecord(
        value=threshold.value,
        method=f"cross-fitted, {threshold.method}",
        false_rejects_asked=threshold.false_rejects,
        bound="clopper-pearson",
        confidence=threshold.confidence,
        held_out_images=threshold.held_out,
        false_reject_bound=threshold.bound,
        warning=threshold.warning,
    )


def _figures(measured: Measured | None) -> dict[str, float]:
    if measured is None:
        return {}
    quality = ("image_auroc", "pixel_auroc", "aupro", "f1_max")
    names = (*quality, "false_rejects", "escapes", "good_images", "defect_images")
    values = {name: getattr(measured.evaluation, name) for name in names}
    return {name: float(value) for name, value in values.items() if value is not None}
