"""Build: from a folder of good images to a bundle."""

from __future__ import annotations

import importlib.metadata
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from calibrate.backbones.backbone import Backbone, load_backbone
from calibrate.dataset import Dataset
from calibrate.images import fitted_batches
from calibrate.learnt import OpenEngine
from calibrate.operating_points import operating_points, thresholds_to_compare
from calibrate.precision.parity import margin_below
from calibrate.progress import Stages
from calibrate.set_kinds import find_two_kinds
from cameras.image_files import taking_bits
from cameras.redaction import printable_path
from edge.building.built import Built
from edge.building.drawn_defects import DrawnDefects, find_drawn_defects
from edge.building.golden_images import golden_images
from edge.building.held_out_record import held_out_record
from edge.building.labelled import (
    digest_beginnings,
    digests_of,
    measure_labelled,
    say_oddities,
)
from edge.building.learning_engines import LearningEngines
from edge.building.methods import LearningMethod, Taught
from edge.building.odd_images import odd_images, rejected_images
from edge.building.precision_gate import (
    GateResult,
    apply_precision_gate,
    limits_from_options,
)
from edge.building.prn import prn_method
from edge.building.protoad import protoad_method
from edge.building.report import build_report
from edge.building.rtx_plans import check_gpu, compile_plans, store_plans
from edge.building.thresholds import threshold_of_pixels
from edge.checking.model_size import SizedBuildOptions
from edge.checking.read import ReadSet, find_set, read_set, shown_images
from edge.evaluation.measure import Measured, png_from_image
from edge.health.learn import learn_health, undetectable_checks
from edge.inspection.held_out import threshold_record
from edge.inspection.verdict import DecisionSettings
from edge.options import BuildOptions, ModelName
from edge.result import Image
from engines import manifest as records
from engines.batches import largest_batch
from engines.bundle import Bundle, write_bundle
from engines.choose import Choice, choose_engine, engine_on
from engines.engine import Engine
from engines.errors import EngineError
from engines.plans.flavours import MODULES
from engines.threshold_records import OperatingPointRecord


def build(
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    options: BuildOptions | None = None,
    stages: Stages | None = None,
    say: Callable[[str], None] | None = None,
) -> Built:
    """Learn an inspector from a folder and write its bundle.

    Args:
        images: a folder of good images, or one in MVTec's layout, whose labelled images are then
            measured too; a video, of which the frames that differ are taken; or several of these.
        output: the bundle's folder; what is there stays until the new one is complete.
        options: what the user decided; None is all defaults.
        stages: told about progress.
        say: receives lines that a user should see.

    Raises:
        ValueError: bad input; of kinds of their own DatasetError, ImagesError, ImageError,
            BackboneError, PrecisionError, ParseError (a GPU that TensorRT-RTX doesn't know) and
            TrainingError (PRN cannot be trained here, or not as asked).
        EngineError: the engine can't work here.
        BundleError: the bundle can't be written.
    """
    stages, say, begun = stages or Stages(), say or _say_nothing, time.monotonic()
    options, output = options or BuildOptions(), Path(output)
    places = Path(images) if isinstance(images, str | Path) else [Path(one) for one in images]
    with (
        taking_bits(options.bit_depth),
        LearningEngines(stages, say, batch=options.max_batch, device=options.device) as engines,
    ):
        job = _prepare(places, output, options=options, engines=engines, stages=stages, say=say)
        taught = job.method.learn(job.read.usable, job.read.clusters, stages)
        gated = _gate(job, taught, stages=stages, say=say)
        outcome = _find_out(job, gated, stages=stages, say=say)
        model = gated.taught.inspector.model
        compiled = engines.plans_of(model)
        plans = compile_plans(model, compiled=compiled, options=options, stages=stages, say=say)
        odd = odd_images(gated.taught.inspector, gated.threshold)
        rejected = rejected_images(gated.taught.inspector, gated.threshold)
        # From here on the new bundle is in its place, and nothing that follows may fail.
        bundle = _write(job, outcome, output, begun=begun, stages=stages)
        return Built(
            bundle=bundle,
            threshold=gated.threshold,
            odd=odd,
            rejected=rejected,
            clusters=job.read.clusters,
            points=outcome.points,
            measured=outcome.measured,
            skipped=job.read.skipped,
            parity=gated.report,
            engine_reason=job.engine.reason,
            plans=store_plans(bundle.plans, plans, compiled=compiled, say=say),
            seconds=time.monotonic() - begun,
            stages=stages.seconds,
        )


def _gate(
    job: _BuildInput, taught: Taught, *, stages: Stages, say: Callable[[str], None]
) -> GateResult:
    return apply_precision_gate(
        taught,
        options=job.options,
        engine=job.engine.name,
        open_engine=job.engines.open,
        labelled=job.dataset.test,
        stages=stages,
        say=say,
    )


class _MakeMethod(Protocol):
    def __call__(
        self,
        options: SizedBuildOptions,
        backbone: Backbone,
        *,
        folder: Path,
        open_engine: OpenEngine,
    ) -> LearningMethod: ...


CHECKED_IMAGES = 16
METHODS: dict[ModelName, _MakeMethod] = {"protoad": protoad_method, "prn": prn_method}


@dataclass(frozen=True, slots=True)
class _BuildInput:
    """What is to be built, all of it checked."""

    name: str
    options: SizedBuildOptions
    backbone: Backbone
    engine: Choice
    engines: LearningEngines
    dataset: Dataset
    read: ReadSet
    digests: tuple[str, ...]  # of the usable images, as a manifest keeps them
    method: LearningMethod
    checkpoints: Path


@dataclass(frozen=True, slots=True, eq=False)
class _BuildFindings:
    """What was learnt, and how the deployed engine does with it."""

    gated: GateResult
    settings: DecisionSettings
    measured: Measured | None
    points: tuple[OperatingPointRecord, ...]
    golden: list[tuple[records.GoldenImage, Image]]
    executes: str
    health: records.HealthRecord
    drawn: DrawnDefects | None


def _prepare(
    images: Path | Sequence[Path],
    output: Path,
    *,
    options: BuildOptions,
    engines: LearningEngines,
    stages: Stages,
    say: Callable[[str], None],
) -> _BuildInput:
    """Refuse now, before minutes of work, what cannot be; find out which images can be used."""
    check_gpu(options.gpu)
    backbone = load_backbone(options.backbone)
    engine = choose_engine(engine_on(options.engine, options.device))
    found = find_set(images, options=options, backbone=backbone)
    for line in (*found.lines, *find_two_kinds(found.dataset.train)):
        say(line)
    sized = found.options
    checkpoints = output.with_name(f"{output.name}.training")
    make_method = METHODS[options.model]
    method = make_method(
        sized, backbone, folder=checkpoints, open_engine=partial(engines.open, engine.name)
    )
    if options.model == "prn" and checkpoints.exists():
        say(f"{checkpoints}: goes on from a training that was stopped; delete it to start anew")
    read = read_set(found, stages)
    for line in read.lines:
        say(line)
    if read.lines or found.findings:
        say(f"edge check {shown_images(images)} --report check.html shows these images")
    name = printable_path(output.name.removesuffix(".edge"))
    digests = digests_of(read.usable)
    return _BuildInput(
        name, sized, backbone, engine, engines, found.dataset, read, digests, method, checkpoints
    )


def _learn_health(
    job: _BuildInput, *, stages: Stages, say: Callable[[str], None]
) -> records.HealthRecord:
    """What a healthy picture looks like, so that a camera's faults can be told."""
    with stages.stage("frame health"):
        health = learn_health(job.read.usable, size=job.options.size, roi=job.options.roi)
    for check in undetectable_checks(health):
        say(f"health: on these images {check} pictures cannot be told from good ones")
    return health


def _find_out(
    job: _BuildInput, gated: GateResult, *, stages: Stages, say: Callable[[str], None]
) -> _BuildFindings:
    """What a healthy picture is, which defects are found, and the figures; an alarm is told."""
    health = _learn_health(job, stages=stages, say=say)
    settings = _settings(job.options, gated)
    drawn = find_drawn_defects(
        gated.taught.inspector,
        settings=settings,
        options=job.options,
        open_engine=partial(job.engines.open, job.engine.name),
        stages=stages,
        say=say,
    )
    outcome = _measure(job, gated, health, drawn, settings=settings, stages=stages)
    say_oddities(outcome.measured, say=say)
    return outcome


def _settings(options: SizedBuildOptions, gated: GateResult) -> DecisionSettings:
    """With which the new inspector decides."""
    return DecisionSettings(
        gated.threshold.value,
        min_area=options.min_area,
        roi=options.roi,
        pixel_threshold=threshold_of_pixels(gated.taught, options),
        score_rule=gated.taught.inspector.score_rule,
    )


def _measure(
    job: _BuildInput,
    gated: GateResult,
    health: records.HealthRecord,
    drawn: DrawnDefects | None,
    *,
    settings: DecisionSettings,
    stages: Stages,
) -> _BuildFindings:
    """Figures on the labelled images, and golden scores, by the engine that is deployed."""
    options, taught = job.options, gated.taught
    scores, chosen = taught.inspector.held_out, gated.threshold.value
    compared = thresholds_to_compare(scores, probabilities=taught.probabilities, others=(chosen,))
    model = taught.inspector.model
    with job.engines.open_whole(job.engine.name, model, options.precision) as engine:
        _check_whole(job, engine, gated)
        measured = measure_labelled(
            engine,
            job.dataset.test,
            options=options,
            settings=settings,
            health=health,
            learnt=frozenset((*job.digests, *digest_beginnings(taught.learnt_files))),
            compare=compared,
            stages=stages,
        )
        golden = golden_images(
            engine, job.read.usable, measured, size=options.size, roi=options.roi
        )
        points = operating_points(
            compared,
            scores,
            recommended=chosen,
            labelled=measured.compared if measured else None,
        )
        return _BuildFindings(
            gated, settings, measured, points, golden, engine.executes, health, drawn
        )


def _check_whole(job: _BuildInput, engine: Engine, gated: GateResult) -> None:
    """See that the compiled inspector gives the scores that its threshold comes from.

    Raises:
        EngineError: it does not.
    """
    if engine.name not in MODULES:
        return
    options, inspector = job.options, gated.taught.inspector
    some = job.read.usable[:CHECKED_IMAGES]
    images = np.concatenate([*fitted_batches(some, size=options.size, roi=options.roi)])
    off = job.engines.difference(engine, inspector.model, options.precision, images)
    margin = margin_below(gated.threshold.value, inspector.held_out)
    if off > limits_from_options(options).score_error * margin:
        raise EngineError(
            f"{engine.name}: the compiled inspector's scores are off by {off / margin:.3f} of the "
            "margin below the threshold; build with another --precision, and report this"
        )


def _write(
    job: _BuildInput, outcome: _BuildFindings, output: Path, *, begun: float, stages: Stages
) -> Bundle:
    """Write the bundle, whole or not at all; checkpoints of its training are of no use then."""
    manifest = _manifest(job, outcome, seconds=time.monotonic() - begun)
    files = _files(manifest, outcome, seconds=stages.seconds)
    bundle = write_bundle(output, manifest=manifest, files=files)
    shutil.rmtree(job.checkpoints, ignore_errors=True)
    return bundle


def _manifest(job: _BuildInput, outcome: _BuildFindings, *, seconds: float) -> records.Manifest:
    options, backbone, gated = job.options, job.backbone, outcome.gated
    taught = gated.taught
    return records.Manifest(
        name=job.name,
        created=datetime.now(timezone.utc),
        protoedge=importlib.metadata.version("protoedge"),
        model=options.model,
        precision=options.precision,
        deployed_engine=job.engine.name,
        executes=outcome.executes,
        size=options.size,
        tiles=options.tiles,
        roi=records.RoiRecord.from_box(options.roi) if options.roi else None,
        bit_depth=options.bit_depth,
        backbone=records.BackboneRecord(
            name=backbone.name, sha256=backbone.sha256, stages=tuple(backbone.stages)
        ),
        prototypes=taught.inspector.prototypes,
        method=taught.method,
        layers=taught.layers,
        max_batch=largest_batch(taught.inspector.model, options.max_batch),
        seed=options.seed,
        score_kind=taught.score_kind,
        threshold=threshold_record(gated.threshold, how=taught.how_held_out),
        held_out=held_out_record(taught, gated.threshold),
        operating_points=outcome.points,
        score_shares=taught.inspector.score_rule if taught.score_kind == "top" else None,
        pixel_threshold=outcome.settings.pixel_threshold,
        min_area=options.min_area,
        figures=outcome.measured.figures if outcome.measured else {},
        golden=tuple(record for record, _ in outcome.golden),
        images=records.ImageCounts(
            used=taught.images,
            skipped=len(job.read.skipped),
            different=job.read.clusters.count,
        ),
        learnt_images=job.digests,
        training=taught.training,
        tuning=taught.tuning,
        parity=gated.report.record if gated.report else None,
        drawn_defects=outcome.drawn.record if outcome.drawn else None,
        health=outcome.health,
        seconds=round(taught.earlier + seconds, 3),
        notes=(job.engine.reason,),
    )


def _files(
    manifest: records.Manifest, outcome: _BuildFindings, *, seconds: Mapping[str, float]
) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {"model.onnx": outcome.gated.taught.inspector.model}
    files |= {record.file: png_from_image(image) for record, image in outcome.golden}
    report = build_report(
        manifest,
        threshold=outcome.gated.threshold,
        taught=outcome.gated.taught,
        measured=outcome.measured,
        points=outcome.points,
        drawn=outcome.drawn,
        seconds=seconds,
    )
    files["report.html"] = report.encode()
    return files


def _say_nothing(_: str) -> None:
    """Say nothing."""
