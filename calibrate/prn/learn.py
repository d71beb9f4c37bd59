"""PRN from good images: hold some out, train, export, and score those that were held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from calibrate.backbones.backbone import Backbone
from calibrate.backbones.features_graph import features_graph
from calibrate.defects.foreground import scene_from_images
from calibrate.defects.real import RealDefect, defects_from_folder
from calibrate.defects.synthesis import Synthesis
from calibrate.defects.textures import textures_from_folder
from calibrate.images import Image, Roi, Size, evenly, fitted_batches
from calibrate.learnt import (
    TRIAL_IMAGES,
    FileScores,
    HeldOutTrial,
    LearntInspector,
    OpenEngine,
    require_images,
    scores_from_files,
)
from calibrate.likeness.clusters import Clusters
from calibrate.node_names import HigherPrecisionNodes
from calibrate.precision.convert import CALIBRATION_IMAGES, Conversion
from calibrate.prn.checkpoint import History
from calibrate.prn.graph.export import inspector_graph
from calibrate.prn.options import (
    SCORE_PIXELS,
    Progress,
    Run,
    TrainingOptions,
    prn_stages,
    steps_of_epochs,
)
from calibrate.prn.training import Trained, train
from calibrate.progress import Stages
from engines.engine import Precision
from engines.score_rule import ScoreRule, ScoreTerm

HOLD_OUT = 0.2  # of the good images: the threshold is set from them, and nothing is learnt
SCENE_IMAGES = 12
SCORE = f"top{SCORE_PIXELS}"
PRECISION = "protoedge.precision"  # key of the graph's metadata


@dataclass(frozen=True, slots=True)
class PrnOptions:
    """What decides a PRN inspector, beside its good images and its backbone.

    Attributes:
        precision: of the graph.
        size: (height, width) in px.
        training: what decides the weights.
        roi: the part of each image that is inspected; None = all of it.
        epochs: in place of the training's steps; None = those.
        defects: folder of real defects with masks; None = none.
        most_defects: at most how many of them; None = all.
        textures: folder of textures; None = drawn ones.
        folder: for checkpoints, from which a stopped training goes on; None = none.
    """

    precision: Precision
    size: Size
    training: TrainingOptions
    roi: Roi | None = None
    epochs: int | None = None
    defects: Path | None = None
    most_defects: int | None = None
    textures: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPrn:
    """A trained network, from which inspectors are made; a `calibrate.learnt.PreparedInspector`.

    Attributes:
        conversion: brings the graph to its precision.
        prototypes: how many there are on each scale.
        taught: good images that were learnt from.
        held_out: good images that were not.
        clusters: which of all of them, the taught first, show one thing.
        defects: SHA-256 of the files of real defects that were learnt from.
        options: of the inspector.
        training: options of the training as they were used.
        history: losses and validations.
        earlier: seconds of the training that was stopped before, and gone on with.
        open_engine: opens the deployed engine on a graph of a precision.
        stages: told about progress.
    """

    conversion: Conversion
    prototypes: int
    taught: tuple[Path, ...]
    held_out: tuple[Path, ...]
    clusters: Clusters
    defects: tuple[str, ...]
    options: PrnOptions
    training: TrainingOptions
    history: History
    earlier: float
    open_engine: OpenEngine
    stages: Stages

    @property
    def fp32(self) -> bytes:
        """Serialised ONNX of the inspector in fp32."""
        return self.conversion.fp32

    @property
    def quantised(self) -> frozenset[str]:
        """Names of the convolutions that become INT8."""
        return self.conversion.quantised

    def rebuild(self, higher: HigherPrecisionNodes) -> LearntInspector:
        """The inspector at its precision, with some nodes above it."""
        model, options = self.quick_trial(higher), self.options
        with (
            self.stages.stage("held-out scores"),
            self.open_engine(model, options.precision) as engine,
        ):
            scores, peaks = scores_from_files(
                engine, self.held_out, size=options.size, roi=options.roi
            )
            learnt, _ = scores_from_files(engine, self.taught, size=options.size, roi=options.roi)
        split_at = len(self.taught)
        ours, theirs = self.clusters.labels[:split_at], self.clusters.labels[split_at:]
        held_out = FileScores.of_clusters(scores, self.held_out, Clusters.numbered(theirs))
        some = tuple(evenly(self.held_out, TRIAL_IMAGES))
        trial = HeldOutTrial(self.fp32, model, some)
        return LearntInspector(
            model=model,
            prototypes=self.prototypes,
            held_out=held_out.values,
            held_out_files=held_out.files,
            peaks=FileScores.of_clusters(peaks, self.held_out, Clusters.numbered(theirs)).values,
            trials=(trial,),
            score_rule=ScoreRule(terms=(ScoreTerm(count=SCORE_PIXELS),)),
            learnt=FileScores.of_clusters(learnt, self.taught, Clusters.numbered(ours)),
        )

    def quick_trial(self, higher: HigherPrecisionNodes) -> bytes:
        """The graph that is deployed: nothing in it is learnt by its precision."""
        model = onnx.load_model_from_string(self.conversion.model(higher))
        for entry in model.metadata_props:
            if entry.key == PRECISION:
                entry.value = self.options.precision
        return bytes(model.SerializeToString())


def prepare_prn(
    backbone: Backbone,
    images: Sequence[Path],
    *,
    options: PrnOptions,
    open_engine: OpenEngine,
    stages: Stages,
    clusters: Clusters | None = None,
) -> PreparedPrn:
    """Train a network on good images and synthesised defects.

    A fifth of the good images is held out: nothing is learnt from them, the training is validated
    on them (it always ends at its last step, whatever they say), and their scores by the deployed
    engine are what the threshold is set from.

    Args:
        backbone: the feature extractor.
        images: usable good images.
        options: everything else that decides the outcome.
        open_engine: opens the deployed engine on a graph of a precision.
        stages: told about progress.
        clusters: which of the images show one thing, and are held out together; None: none do.

    Raises:
        ImagesError: fewer than 5 images.
        DatasetError, ImageError: defects or textures that cannot be used.
        TrainingError, PrototypesError: as the training says.
        BackboneError, PrecisionError, EngineError: as their own modules say.
        ValueError: a size that 32 does not divide.
    """
    require_images(images, good_number="a hundred")
    alike = clusters or Clusters.singles(len(images))
    ours, theirs = split(alike, seed=options.training.seed)
    taught, held_out = [images[index] for index in ours], [images[index] for index in theirs]
    with stages.stage("graph"):
        layers = prn_stages(backbone)
        features = features_graph(backbone, size=options.size, layers=layers, pooled=False)
    material = _read_material(taught, held_out, options=options)
    trained = _train(backbone, material, options=options, stages=stages)
    prototypes = max(trained.network.shape.prototypes)
    metadata = {
        "protoedge.model": "prn",
        PRECISION: "fp32",
        "protoedge.prototypes": str(prototypes),
    }
    fp32 = inspector_graph(features, trained.network, metadata=metadata)
    return PreparedPrn(
        conversion=_convert(fp32, material, options=options, stages=stages),
        prototypes=prototypes,
        taught=tuple(taught),
        held_out=tuple(held_out),
        clusters=alike.of([*ours, *theirs]),
        defects=tuple(defect.sha256 for defect in material.synthesis.defects),
        options=options,
        training=replace(material.training, precision=trained.precision),
        history=trained.history,
        earlier=trained.earlier,
        open_engine=open_engine,
        stages=stages,
    )


def _convert(
    fp32: bytes, material: _Material, *, options: PrnOptions, stages: Stages
) -> Conversion:
    """The graph on its way to its precision."""
    with stages.stage("precision"):
        calibration = _calibration(material) if options.precision == "int8" else ()
        return Conversion(fp32, options.precision, calibration=calibration)


def split(clusters: Clusters, *, seed: int) -> tuple[list[int], list[int]]:
    """Images to learn from, and those held out: a fifth of the things shown, drawn at random.

    At least two of them, where there are more than two; where there is one, a fifth of its images.
    """
    clusters = clusters.to_hold_out()
    count = min(clusters.count - 1, max(2, round(HOLD_OUT * clusters.count)))
    chosen = np.random.default_rng(seed).permutation(clusters.count)[:count]
    is_held_out = np.isin(clusters.labels, chosen)
    return np.flatnonzero(~is_held_out).tolist(), np.flatnonzero(is_held_out).tolist()


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """What is trained with, read into memory: 196 kB an image at 256 px."""

    taught: list[Image]
    held_out: list[Image]
    synthesis: Synthesis
    training: TrainingOptions
    note: str


def _read_material(
    taught: Sequence[Path], held_out: Sequence[Path], *, options: PrnOptions
) -> _Material:
    size, roi, training = options.size, options.roi, options.training
    images = _read(taught, options)
    defects: tuple[RealDefect, ...] = ()
    if options.defects is not None:
        defects = defects_from_folder(
            options.defects, size=size, roi=roi, most=options.most_defects
        )
    textures = textures_from_folder(options.textures, size=size) if options.textures else ()
    scene = scene_from_images(evenly(images, SCENE_IMAGES))
    if options.epochs is not None:
        steps = steps_of_epochs(options.epochs, images=len(images), batch=training.batch)
        training = replace(training, steps=steps)
    digest = hashlib.sha256()
    for texture in textures:
        digest.update(texture.tobytes())
    for defect in defects:
        digest.update(defect.image.tobytes() + defect.mask.tobytes())
    return _Material(
        taught=images,
        held_out=_read(held_out, options),
        synthesis=Synthesis(textures, defects, scene),
        training=training,
        note=f"{scene}, textures and defects {digest.hexdigest()[:16]}",
    )


def _read(paths: Sequence[Path], options: PrnOptions) -> list[Image]:
    batches = fitted_batches(paths, size=options.size, roi=options.roi)
    return [image for batch in batches for image in batch]


def _train(
    backbone: Backbone, material: _Material, *, options: PrnOptions, stages: Stages
) -> Trained:
    with stages.stage("training") as advance:

        def tell(progress: Progress) -> None:
            if progress.stage == "training":
                advance(progress.share)
            stages.note("training", _line(progress))

        return train(
            material.taught,
            backbone=backbone,
            synthesise=material.synthesis,
            held_out=material.held_out,
            options=material.training,
            run=Run(folder=options.folder, progress=tell, note=material.note),
        )


def _line(progress: Progress) -> str:
    """Where the training stands, for a person."""
    if progress.step == 0:
        return f"{progress.stage} {progress.share:.0%}"
    parts = [f"step {progress.step} of {progress.steps}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4f}")
    if progress.validation and progress.validation.average_precision is not None:
        parts.append(f"validation AP {progress.validation.average_precision:.3f}")
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


def _calibration(material: _Material) -> Iterator[npt.NDArray[np.uint8]]:
    """Good images, each once as it is and once with a defect, as they were trained with.

    Residuals are small on good images: ranges measured on those alone would clip what matters.
    """
    for index, image in enumerate(evenly(material.taught, CALIBRATION_IMAGES // 2)):
        rng = np.random.default_rng([material.training.seed, index])
        yield np.stack([image, material.synthesis(image, rng)[0]])
