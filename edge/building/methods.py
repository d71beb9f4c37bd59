"""The two methods: what each needs to learn an inspector, and what it leaves to be recorded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from calibrate.backbones.backbone import Backbone
from calibrate.images import Roi, Size
from calibrate.precision.parity import Kept
from calibrate.precision.parity_report import MAX_FLIPS
from calibrate.prn.options import DEFAULT_BATCH, DEFAULT_STEPS, Settings, TrainingError
from calibrate.prn.shape import PrnSize, shape_of
from calibrate.progress import Stages
from calibrate.protoad.features import default_layers
from calibrate.protoad.graph import Score
from calibrate.protoad.learn import HeldOut, Learnt, OpenEngine, Recipe, learn
from calibrate.protoad.prototypes import Method
from engines.choose import AUTO
from engines.engine import Precision
from engines.manifest import TrainingRecord

if TYPE_CHECKING:
    from calibrate.prn.learn import LearntPrn
    from calibrate.prn.making import PrnMaking

ModelName = Literal["protoad", "prn"]
PROTOTYPES = 4096
RECENT = 50  # last steps whose mean loss is recorded


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may decide; the defaults are those of the command.

    Attributes:
        model: ``protoad`` or ``prn``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        backbone: ``bundled`` or the path of an ONNX file.
        layers: stages of the backbone; empty = those that measured best. ProtoAD only.
        size: (height, width) in px of the model's images.
        roi: (x, y, width, height) in px of the camera's picture; None = all of it.
        prototypes: at most how many; None = 4 096 patches (ProtoAD), or whole feature maps, a
            tenth of the images on each scale (PRN).
        method: ``coreset`` or ``finch``. ProtoAD only.
        score: ``smoothed`` or ``raw``: which map's maximum is the score. ProtoAD only.
        false_rejects: rate of good parts that may be rejected.
        min_area: smallest region that rejects, in px of the camera's picture.
        engine: ``auto`` or the name of one.
        gpu: architectures to compile TensorRT-RTX plans for, one plan each; empty = one portable.
        memory_mib: most memory for patches. ProtoAD only.
        seed: of every draw.
        prn_size: PRN's proportions: ``paper``, or ``compact``, which a CPU can train.
        steps: how many PRN is trained for.
        epochs: in place of steps; None = the steps.
        batch: images a step of the training, half of them with a defect; even.
        defects: folder of real defects with masks, for PRN to learn from; None = none.
        most_defects: at most how many of them; None = all.
        textures: folder of textures for PRN's simulated defects; None = drawn ones.
        max_flips: verdicts that the precision may change, of the images that the gate sees.
        max_score_error: most that it may move a good image's score, as a share of the way from
            good images' median score up to the threshold; None = what is usual at the precision.
    """

    model: ModelName = "protoad"
    precision: Precision = "fp16"
    backbone: str = "bundled"
    layers: tuple[str, ...] = ()
    size: Size = (256, 256)
    roi: Roi | None = None
    prototypes: int | None = None
    method: Method = "coreset"
    score: Score = "smoothed"
    false_rejects: float = 0.001
    min_area: int = 0
    engine: str = AUTO
    gpu: tuple[str, ...] = ()
    memory_mib: int = 1024
    seed: int = 0
    prn_size: PrnSize = "compact"
    steps: int = DEFAULT_STEPS
    epochs: int | None = None
    batch: int = DEFAULT_BATCH
    defects: Path | None = None
    most_defects: int | None = None
    textures: Path | None = None
    max_flips: int = MAX_FLIPS
    max_score_error: float | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How a training went, for the report.

    Attributes:
        losses: of every step.
        validations: (step, pixel AP on synthesised defects or None).
    """

    losses: tuple[float, ...]
    validations: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What a method has learnt.

    Attributes:
        model: serialised ONNX of the whole inspector.
        prototypes: how many.
        held_out: (n,) float32 scores of good images that it did not learn from.
        images: how many good images it learnt from.
        layers: stages of the backbone that are compared.
        method: how the prototypes were chosen.
        score_kind: how the map becomes a score.
        how_held_out: in a word or two, for the record.
        probabilities: whether scores end at 1.
        training: of a network.
        course: of its training.
        earlier: seconds that a training took before it was stopped, and gone on with here.
        rework: for comparing it with fp32, and for making it again.
    """

    model: bytes
    prototypes: int
    held_out: npt.NDArray[np.float32]
    images: int
    layers: tuple[str, ...]
    method: str
    score_kind: str
    how_held_out: str
    probabilities: bool = False
    training: TrainingRecord | None = None
    course: Course | None = None
    earlier: float = 0.0
    rework: Rework | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rework:
    """How an inspector is compared with fp32, and made again with nodes in higher precision.

    Attributes:
        exact: serialised ONNX of the inspector that a build in fp32 makes.
        trials: pairs of graphs, and good images that neither learnt from.
        quantised: names of the convolutions that become INT8.
        trial: the first trial's graph with some nodes kept, made quickly.
        again: the inspector with some nodes kept, nothing but its precision learnt anew.
    """

    exact: bytes
    trials: tuple[HeldOut, ...]
    quantised: frozenset[str]
    trial: Callable[[Kept], bytes]
    again: Callable[[Kept], Taught]


Teach = Callable[[Sequence[Path], Stages], Taught]


def method_of(
    options: Options, backbone: Backbone, *, folder: Path, open_engine: OpenEngine
) -> Teach:
    """The method that was asked for; what cannot be is refused now, before minutes of work.

    Args:
        options: what the user decided.
        backbone: the feature extractor.
        folder: where a training keeps its checkpoints.
        open_engine: opens the deployed engine on a graph of a precision.

    Raises:
        TrainingError: PRN without torch, or with options that are ProtoAD's.
        BackboneError, ValueError: a backbone, size or number that PRN cannot work with.
    """
    if options.model == "protoad":
        return _protoad(options, backbone, open_engine)
    _check_prn(options, backbone)
    return _prn(options, backbone, folder=folder, open_engine=open_engine)


def _protoad(options: Options, backbone: Backbone, open_engine: OpenEngine) -> Teach:
    recipe = Recipe(
        precision=options.precision,
        size=options.size,
        layers=options.layers or default_layers(backbone),
        roi=options.roi,
        prototypes=options.prototypes or PROTOTYPES,
        method=options.method,
        score=options.score,
        seed=options.seed,
        memory_mib=options.memory_mib,
    )

    def teach(images: Sequence[Path], stages: Stages) -> Taught:
        learnt = learn(backbone, images, recipe=recipe, open_engine=open_engine, stages=stages)
        return _taught_protoad(learnt, recipe, images=len(images))

    return teach


def _taught_protoad(learnt: Learnt, recipe: Recipe, *, images: int) -> Taught:
    making = learnt.again

    def again(kept: Kept) -> Taught:
        return _taught_protoad(making.learnt(kept), recipe, images=images)

    return Taught(
        model=learnt.model,
        prototypes=len(learnt.prototypes),
        held_out=learnt.held_out,
        images=images,
        layers=recipe.layers,
        method=recipe.method,
        score_kind=recipe.score,
        how_held_out="cross-fitted",
        rework=Rework(
            exact=learnt.exact,
            trials=learnt.trials,
            quantised=making.conversion.quantised,
            trial=making.trial,
            again=again,
        ),
    )


def _check_prn(options: Options, backbone: Backbone) -> None:
    missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"PRN is trained with torch: {', '.join(missing)} not installed; "
            "pip install 'protoedge[train]', or build with --model protoad"
        )
    if options.layers:
        raise TrainingError("--layers is ProtoAD's: PRN compares the stages at strides 4, 8 and 16")
    shape_of(backbone, image_size=options.size, prototypes=(1, 1, 1), size=options.prn_size)
    _settings(options)


def _settings(options: Options) -> Settings:
    return Settings(
        size=options.prn_size,
        steps=options.steps,
        batch=options.batch,
        prototypes=options.prototypes,
        seed=options.seed,
    )


def _prn(options: Options, backbone: Backbone, *, folder: Path, open_engine: OpenEngine) -> Teach:
    def teach(images: Sequence[Path], stages: Stages) -> Taught:
        # torch is loaded here, and nowhere else.
        from calibrate.prn.learn import SCORE, PrnRecipe, learn_prn
        from calibrate.prn.making import prn_making
        from calibrate.prn.shape import prn_stages

        recipe = PrnRecipe(
            precision="fp32",
            size=options.size,
            settings=_settings(options),
            roi=options.roi,
            epochs=options.epochs,
            defects=options.defects,
            most_defects=options.most_defects,
            textures=options.textures,
            folder=folder,
        )
        learnt = learn_prn(backbone, images, recipe=recipe, open_engine=open_engine, stages=stages)
        making = prn_making(
            learnt.model,
            images,
            recipe=replace(recipe, precision=options.precision),
            open_engine=open_engine,
            stages=stages,
        )
        first = Taught(
            model=learnt.model,
            prototypes=learnt.prototypes,
            held_out=learnt.held_out,
            images=learnt.images,
            layers=prn_stages(backbone),
            method="k-means",
            score_kind=SCORE,
            how_held_out="held out",
            probabilities=True,
            training=_training_record(learnt, options),
            course=_course(learnt),
            earlier=learnt.earlier,
        )
        return _taught_prn(first, making, {})

    return teach


def _taught_prn(taught: Taught, making: PrnMaking, kept: Kept) -> Taught:
    """The trained network at the precision that is deployed."""
    model = making.model(kept)
    return replace(
        taught,
        model=model,
        held_out=making.held_out(model),
        rework=Rework(
            exact=making.exact,
            trials=(making.trial(model),),
            quantised=making.conversion.quantised,
            trial=making.model,
            again=lambda more: _taught_prn(taught, making, more),
        ),
    )


def _training_record(learnt: LearntPrn, options: Options) -> TrainingRecord:
    return TrainingRecord(
        size=learnt.settings.size,
        steps=learnt.settings.steps,
        batch=learnt.settings.batch,
        arithmetic=learnt.settings.precision,
        loss=float(np.mean(learnt.history.losses[-RECENT:])),
        textures=options.textures.name if options.textures else "drawn",
        defects=learnt.defects,
    )


def _course(learnt: LearntPrn) -> Course:
    validations = tuple((v.step, v.average_precision) for v in learnt.history.validations)
    return Course(learnt.history.losses, validations)
