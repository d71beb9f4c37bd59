"""ProtoAD from good images: features, prototypes, the graph, and scores of unseen images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.backbones.backbone import Backbone
from calibrate.features import FeaturesGraph, PatchBank, balanced, features_graph, patch_bank
from calibrate.images import ImagesError, Roi, Size, evenly, fitted_batches
from calibrate.precision import CALIBRATION_IMAGES, graph_at_precision
from calibrate.protoad import Score, inspector_graph
from calibrate.prototypes import Method, Vectors, prototypes_from_patches
from calibrate.stages import Advance, Stages
from engines.engine import Engine, Precision

LEAST_IMAGES = 5
FOLDS = 5
HOLD_OUT_FROM = 2_000  # so many images: one fold is enough to hold out

OpenEngine: TypeAlias = Callable[[bytes], Engine]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides an inspector, beside its images and its backbone.

    Attributes:
        precision: of the graph.
        size: (height, width) in px.
        layers: stages of the backbone.
        roi: the part of each image that is inspected; None = all of it.
        prototypes: at most how many.
        method: how they are chosen.
        score: how the map becomes a score.
        seed: of every draw.
        memory_mib: most memory for patches.
    """

    precision: Precision
    size: Size
    layers: tuple[str, ...]
    roi: Roi | None = None
    prototypes: int = 4096
    method: Method = "coreset"
    score: Score = "smoothed"
    seed: int = 0
    memory_mib: int = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What came out.

    Attributes:
        model: serialised ONNX of the whole inspector.
        prototypes: (K, D) unit rows.
        held_out: (n,) float32 scores of good images, each by prototypes that did not see it.
    """

    model: bytes
    prototypes: Vectors
    held_out: npt.NDArray[np.float32]


def learn(
    backbone: Backbone,
    images: Sequence[Path],
    *,
    recipe: Recipe,
    open_engine: OpenEngine,
    stages: Stages,
) -> Learnt:
    """Learn an inspector from good images.

    The features are those of the graph and the engine that are deployed, and so are the held-out
    scores: each fold's prototypes are put into a graph of their own that the engine runs.

    Args:
        backbone: the feature extractor.
        images: usable good images.
        recipe: everything else that decides the outcome.
        open_engine: opens the deployed engine on a graph.
        stages: told about progress.

    Raises:
        ImagesError: fewer than 5 images.
        BackboneError, PrecisionError, EngineError: as their own modules say.
    """
    if len(images) < LEAST_IMAGES:
        raise ImagesError(
            f"{len(images)} usable good images; at least {LEAST_IMAGES} are needed, and a few "
            "hundred make a good inspector"
        )
    with stages.stage("graph"):
        graph = features_graph(backbone, size=recipe.size, layers=recipe.layers)
    if recipe.precision != "fp32":
        with stages.stage("precision"):
            graph = _at_precision(graph, images, recipe=recipe)
    with stages.stage("features") as advance, open_engine(graph.model) as engine:
        graph = balanced(engine, graph, images, roi=recipe.roi)
        bank = patch_bank(
            engine,
            graph,
            images,
            roi=recipe.roi,
            memory_mib=recipe.memory_mib,
            seed=recipe.seed,
            progress=advance,
        )
    with stages.stage("prototypes") as advance:
        prototypes = prototypes_from_patches(
            bank.patches,
            recipe.prototypes,
            method=recipe.method,
            seed=recipe.seed,
            progress=advance,
        )
    crossed = _CrossFit(graph, bank, images, recipe, open_engine)
    with stages.stage("held-out scores") as advance:
        held_out = crossed.scores(advance)
    return Learnt(_completed(graph, prototypes, recipe=recipe), prototypes, held_out)


def _at_precision(graph: FeaturesGraph, images: Sequence[Path], *, recipe: Recipe) -> FeaturesGraph:
    some = evenly(images, CALIBRATION_IMAGES)
    batches = fitted_batches(some, size=recipe.size, roi=recipe.roi)
    return graph_at_precision(graph, recipe.precision, calibration=batches)


def _completed(graph: FeaturesGraph, prototypes: Vectors, *, recipe: Recipe) -> bytes:
    metadata = {
        "protoedge.model": "protoad",
        "protoedge.precision": recipe.precision,
        "protoedge.prototypes": str(len(prototypes)),
    }
    return inspector_graph(
        graph, prototypes, precision=recipe.precision, score=recipe.score, metadata=metadata
    )


def _folds(count: int, *, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of the images to hold out, fold by fold; each image in one fold at most."""
    order = np.random.default_rng(seed).permutation(count)
    folds = np.array_split(order, min(FOLDS, count))
    for fold in folds[: 1 if count >= HOLD_OUT_FROM else None]:
        yield np.sort(fold)


@dataclass(frozen=True, slots=True, eq=False)
class _CrossFit:
    """Scores images by prototypes that were learnt from the others."""

    graph: FeaturesGraph
    bank: PatchBank
    images: Sequence[Path]
    recipe: Recipe
    open_engine: OpenEngine

    def scores(self, advance: Advance) -> npt.NDArray[np.float32]:
        """(n,) of all images, or of one fold where there are plenty."""
        folds = list(_folds(len(self.images), seed=self.recipe.seed))
        found = []
        for done, fold in enumerate(folds, start=1):
            found.append(self._scores(fold))
            advance(done / len(folds))
        return np.concatenate(found)

    def _scores(self, fold: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        recipe = self.recipe
        others = np.setdiff1d(np.arange(len(self.images)), fold)
        prototypes = prototypes_from_patches(
            self.bank.of_images(others), recipe.prototypes, method=recipe.method, seed=recipe.seed
        )
        model = _completed(self.graph, prototypes, recipe=recipe)
        paths = [self.images[index] for index in fold]
        with self.open_engine(model) as engine:
            return np.concatenate(
                [
                    np.asarray(engine.infer(batch)[1], np.float32)
                    for batch in fitted_batches(paths, size=recipe.size, roi=recipe.roi)
                ]
            )
