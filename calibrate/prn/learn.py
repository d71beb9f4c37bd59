"""PRN from good images: hold some out, train, export, and score those that were held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.backbones.backbone import Backbone
from calibrate.images import Image, ImagesError, Roi, Size, evenly, fitted_batches
from calibrate.precision.convert import CALIBRATION_IMAGES, model_at_precision
from calibrate.prn.checkpoint import History
from calibrate.prn.defects.foreground import scene_from_images
from calibrate.prn.defects.real import RealDefect, defects_from_folder
from calibrate.prn.defects.synthesis import Synthesis
from calibrate.prn.defects.textures import textures_from_folder
from calibrate.prn.graph.export import inspector_graph
from calibrate.prn.options import Progress, Run, Settings, steps_of_epochs
from calibrate.prn.shape import prn_stages
from calibrate.prn.training import Trained, train
from calibrate.prn.validation import HIGHEST
from calibrate.progress import Stages
from calibrate.protoad.features import FeaturesGraph, features_graph
from calibrate.protoad.learn import LEAST_IMAGES, OpenEngine
from engines.engine import Precision

HOLD_OUT = 0.2  # of the good images: the threshold is set from them, and nothing is learnt
SCENE_IMAGES = 12
SCORE = f"top{HIGHEST}"


@dataclass(frozen=True, slots=True)
class PrnRecipe:
    """What decides a PRN inspector, beside its good images and its backbone.

    Attributes:
        precision: of the graph.
        size: (height, width) in px.
        settings: of the training.
        roi: the part of each image that is inspected; None = all of it.
        epochs: in place of the settings' steps; None = those.
        defects: folder of real defects with masks; None = none.
        most_defects: at most how many of them; None = all.
        textures: folder of textures; None = drawn ones.
        folder: for checkpoints, from which a stopped training goes on; None = none.
    """

    precision: Precision
    size: Size
    settings: Settings
    roi: Roi | None = None
    epochs: int | None = None
    defects: Path | None = None
    most_defects: int | None = None
    textures: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LearntPrn:
    """What came out.

    Attributes:
        model: serialised ONNX of the whole inspector.
        prototypes: how many there are on each scale.
        held_out: (n,) float32 scores of the good images that were held out.
        images: how many good images were learnt from.
        defects: SHA-256 of the files of real defects that were learnt from.
        settings: as they were used.
        history: losses and validations.
        earlier: seconds of the training that was stopped before, and gone on with.
    """

    model: bytes
    prototypes: int
    held_out: npt.NDArray[np.float32]
    images: int
    defects: tuple[str, ...]
    settings: Settings
    history: History
    earlier: float


def learn_prn(
    backbone: Backbone,
    images: Sequence[Path],
    *,
    recipe: PrnRecipe,
    open_engine: OpenEngine,
    stages: Stages,
) -> LearntPrn:
    """Train an inspector on good images and synthesised defects.

    A fifth of the good images is held out: nothing is learnt from them, the training is validated
    on them (it always ends at its last step, whatever they say), and their scores by the deployed
    engine are what the threshold is set from.

    Args:
        backbone: the feature extractor.
        images: usable good images.
        recipe: everything else that decides the outcome.
        open_engine: opens the deployed engine on a graph of a precision.
        stages: told about progress.

    Raises:
        ImagesError: fewer than 5 images.
        DatasetError, ImageError: defects or textures that cannot be used.
        TrainingError, PrototypesError: as the training says.
        BackboneError, PrecisionError, EngineError: as their own modules say.
        ValueError: a size that 32 does not divide.
    """
    if len(images) < LEAST_IMAGES:
        raise ImagesError(
            f"{len(images)} usable good images; at least {LEAST_IMAGES} are needed, and a hundred "
            "make a good inspector"
        )
    taught, held_out = split(images, seed=recipe.settings.seed)
    with stages.stage("graph"):
        features = features_graph(
            backbone, size=recipe.size, layers=prn_stages(backbone), pooled=False
        )
    material = _material(taught, held_out, recipe=recipe)
    trained = _trained(backbone, material, recipe=recipe, stages=stages)
    with stages.stage("precision"):
        model = _deployed(features, trained, material, recipe=recipe)
    with stages.stage("held-out scores"), open_engine(model, recipe.precision) as engine:
        batches = fitted_batches(held_out, size=recipe.size, roi=recipe.roi)
        scores = [np.asarray(engine.infer(batch)[1], np.float32) for batch in batches]
    return LearntPrn(
        model=model,
        prototypes=max(trained.network.shape.prototypes),
        held_out=np.concatenate(scores),
        images=len(taught),
        defects=tuple(defect.sha256 for defect in material.synthesis.defects),
        settings=replace(material.settings, precision=trained.precision),
        history=trained.history,
        earlier=trained.earlier,
    )


def split(images: Sequence[Path], *, seed: int) -> tuple[list[Path], list[Path]]:
    """Images to learn from, and those held out: a fifth, at least two, drawn at random."""
    count = max(2, round(HOLD_OUT * len(images)))
    chosen = set(np.random.default_rng(seed).permutation(len(images))[:count].tolist())
    taught = [path for index, path in enumerate(images) if index not in chosen]
    return taught, [path for index, path in enumerate(images) if index in chosen]


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """What is trained with, read into memory: 196 kB an image at 256 px."""

    taught: list[Image]
    held_out: list[Image]
    synthesis: Synthesis
    settings: Settings
    note: str


def _material(taught: Sequence[Path], held_out: Sequence[Path], *, recipe: PrnRecipe) -> _Material:
    images = _read(taught, recipe)
    defects: tuple[RealDefect, ...] = ()
    if recipe.defects is not None:
        most = recipe.most_defects
        defects = defects_from_folder(recipe.defects, size=recipe.size, roi=recipe.roi, most=most)
    textures = textures_from_folder(recipe.textures, size=recipe.size) if recipe.textures else ()
    scene = scene_from_images(evenly(images, SCENE_IMAGES))
    settings = recipe.settings
    if recipe.epochs is not None:
        steps = steps_of_epochs(recipe.epochs, images=len(images), batch=settings.batch)
        settings = replace(settings, steps=steps)
    digest = hashlib.sha256()
    for texture in textures:
        digest.update(texture.tobytes())
    for defect in defects:
        digest.update(defect.image.tobytes() + defect.mask.tobytes())
    return _Material(
        taught=images,
        held_out=_read(held_out, recipe),
        synthesis=Synthesis(textures, defects, scene),
        settings=settings,
        note=f"{scene}, textures and defects {digest.hexdigest()[:16]}",
    )


def _read(paths: Sequence[Path], recipe: PrnRecipe) -> list[Image]:
    batches = fitted_batches(paths, size=recipe.size, roi=recipe.roi)
    return [image for batch in batches for image in batch]


def _trained(
    backbone: Backbone, material: _Material, *, recipe: PrnRecipe, stages: Stages
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
            settings=material.settings,
            run=Run(folder=recipe.folder, progress=tell, note=material.note),
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


def _deployed(
    features: FeaturesGraph, trained: Trained, material: _Material, *, recipe: PrnRecipe
) -> bytes:
    metadata = {
        "protoedge.model": "prn",
        "protoedge.precision": recipe.precision,
        "protoedge.prototypes": str(max(trained.network.shape.prototypes)),
    }
    model = inspector_graph(features, trained.network, metadata=metadata)
    calibration = _calibration(material)
    return model_at_precision(model, recipe.precision, calibration=calibration)


def _calibration(material: _Material) -> Iterator[npt.NDArray[np.uint8]]:
    """Good images, each once as it is and once with a defect.

    Residuals are small on good images: ranges measured on those alone would clip what matters.
    """
    for index, image in enumerate(evenly(material.taught, CALIBRATION_IMAGES // 2)):
        rng = np.random.default_rng([material.settings.seed, index])
        yield np.stack([image, material.synthesis(image, rng)[0]])
