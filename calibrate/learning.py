"""ProtoAD from good images: features, prototypes, the graph, and scores of unseen images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.backbones.backbone import Backbone
from calibrate.features import (
    FeaturesGraph,
    PatchBank,
    balanced,
    drawn_rows,
    features_graph,
    patch_bank,
    patch_runs,
)
from calibrate.images import ImagesError, Roi, Size, evenly, fitted_batches
from calibrate.precision import CALIBRATION_IMAGES, graph_at_precision
from calibrate.protoad import Score, inspector_graph
from calibrate.prototypes import CellMeans, Cells, Method, Vectors, cells_of_patches
from calibrate.stages import Stages
from engines.engine import Engine, Precision

LEAST_IMAGES = 5
FOLDS = 5
PART = 8_192  # patches that are added to the means at once
HOLD_OUT_FROM = 2_000  # so many images: one fold is enough to hold out

OpenEngine: TypeAlias = Callable[[bytes, Precision], Engine]


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

    The patches are divided into cells by their fp32 features, whatever the precision, so that
    builds at different precisions differ by their arithmetic and not by which patches they
    happened to choose. The prototypes are the cells' means in the features of the graph and the
    engine that are deployed. So are the held-out scores: each fold's prototypes are put into a
    graph of their own that the engine runs.

    Args:
        backbone: the feature extractor.
        images: usable good images.
        recipe: everything else that decides the outcome.
        open_engine: opens the deployed engine on a graph of a precision.
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
    work = _Learning(images, recipe, open_engine, stages)
    with stages.stage("graph"):
        exact = features_graph(backbone, size=recipe.size, layers=recipe.layers)
    exact, bank = work.bank(exact)
    graph = work.at_precision(exact)
    folds = list(_folds(len(images), seed=recipe.seed))
    everything, *others = work.cells(bank, folds)
    prototypes, *crossed = work.means([everything, *others], bank, graph=graph)
    held_out = work.held_out(folds, crossed, graph=graph)
    return Learnt(_completed(graph, prototypes, recipe=recipe), prototypes, held_out)


@dataclass(frozen=True, slots=True, eq=False)
class _Learning:
    """The steps of `learn`, and what all of them need."""

    images: Sequence[Path]
    recipe: Recipe
    open_engine: OpenEngine
    stages: Stages

    def bank(self, exact: FeaturesGraph) -> tuple[FeaturesGraph, PatchBank]:
        """The fp32 graph, its stages weighed, and the patches of all images."""
        recipe, roi = self.recipe, self.recipe.roi
        rows = drawn_rows(exact, len(self.images), memory_mib=recipe.memory_mib, seed=recipe.seed)
        with (
            self.stages.stage("features") as advance,
            self.open_engine(exact.model, "fp32") as engine,
        ):
            exact = balanced(engine, exact, self.images, roi=roi)
            bank = patch_bank(engine, exact, self.images, roi=roi, rows=rows, progress=advance)
        return exact, bank

    def at_precision(self, exact: FeaturesGraph) -> FeaturesGraph:
        """The graph that is deployed."""
        if self.recipe.precision == "fp32":
            return exact
        some = evenly(self.images, CALIBRATION_IMAGES)
        batches = fitted_batches(some, size=self.recipe.size, roi=self.recipe.roi)
        with self.stages.stage("precision"):
            return graph_at_precision(exact, self.recipe.precision, calibration=batches)

    def cells(self, bank: PatchBank, folds: Sequence[npt.NDArray[np.int64]]) -> list[Cells]:
        """The cells of all images' patches, and of those outside each fold."""
        parts = len(folds) + 1
        with self.stages.stage("prototypes") as advance:
            found = [self._cells(bank.patches, lambda share: advance(share / parts))]
            for fold in folds:
                others = np.setdiff1d(np.arange(len(self.images)), fold)
                some = self._cells(bank.of_images(others))
                labels = np.full(bank.rows.shape, -1, np.int32)
                labels[others] = some.labels.reshape(len(others), -1)
                found.append(replace(some, labels=labels.ravel()))
                advance(len(found) / parts)
        return found

    def _cells(
        self, patches: npt.NDArray[np.float16], progress: Callable[[float], None] | None = None
    ) -> Cells:
        recipe = self.recipe
        return cells_of_patches(
            patches, recipe.prototypes, method=recipe.method, seed=recipe.seed, progress=progress
        )

    def means(
        self, divided: Sequence[Cells], bank: PatchBank, *, graph: FeaturesGraph
    ) -> list[Vectors]:
        """Prototypes of each division, from the patches that the deployed graph gives."""
        means = [CellMeans(cells, dimensions=graph.dimensions) for cells in divided]
        done = 0
        with self.stages.stage("means") as advance:
            for patches in self._deployed(bank, graph=graph):
                for mean in means:
                    mean.add(patches, start=done)
                done += len(patches)
                advance(done / bank.rows.size)
        return [mean.unit() for mean in means]

    def _deployed(
        self, bank: PatchBank, *, graph: FeaturesGraph
    ) -> Iterator[npt.NDArray[np.float16] | npt.NDArray[np.float32]]:
        """All patches at the deployed precision, image after image, a part at a time."""
        if self.recipe.precision == "fp32":
            for start in range(0, len(bank.patches), PART):
                yield bank.patches[start : start + PART]
            return
        with self.open_engine(graph.model, self.recipe.precision) as engine:
            yield from patch_runs(engine, graph, self.images, roi=self.recipe.roi, rows=bank.rows)

    def held_out(
        self,
        folds: Sequence[npt.NDArray[np.int64]],
        crossed: Sequence[Vectors],
        *,
        graph: FeaturesGraph,
    ) -> npt.NDArray[np.float32]:
        """(n,) scores of the folds' images, by prototypes that were learnt from the others."""
        found = []
        with self.stages.stage("held-out scores") as advance:
            for fold, prototypes in zip(folds, crossed, strict=True):
                model = _completed(graph, prototypes, recipe=self.recipe)
                found.append(self._scores(model, [self.images[index] for index in fold]))
                advance(len(found) / len(folds))
        return np.concatenate(found)

    def _scores(self, model: bytes, paths: Sequence[Path]) -> npt.NDArray[np.float32]:
        recipe = self.recipe
        with self.open_engine(model, recipe.precision) as engine:
            return np.concatenate(
                [
                    np.asarray(engine.infer(batch)[1], np.float32)
                    for batch in fitted_batches(paths, size=recipe.size, roi=recipe.roi)
                ]
            )


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
