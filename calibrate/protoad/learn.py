"""ProtoAD from good images: features, prototypes, the graph, and scores of unseen images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.backbones.backbone import Backbone
from calibrate.images import ImagesError, Roi, Size, evenly, fitted_batches
from calibrate.precision.convert import CALIBRATION_IMAGES, Conversion
from calibrate.precision.parity import GATE_IMAGES as TRIAL_IMAGES
from calibrate.precision.parity import Kept
from calibrate.progress import Stages
from calibrate.protoad.features import (
    FeaturesGraph,
    PatchBank,
    balanced,
    drawn_rows,
    features_graph,
    patch_bank,
    patch_runs,
)
from calibrate.protoad.graph import HEAD, Score, inspector_graph
from calibrate.protoad.prototypes import CellMeans, Cells, Method, Vectors, cells_of_patches
from engines.engine import Engine, Precision

LEAST_IMAGES = 5
FOLDS = 5
PART = 8_192  # patches that are added to the means at once
HOLD_OUT_FROM = 2_000  # so many images: one fold is enough to hold out

Patches: TypeAlias = npt.NDArray[np.float16] | npt.NDArray[np.float32]  # (rows, D)
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
class HeldOut:
    """Two graphs of an inspector, and good images that neither has learnt from.

    Attributes:
        exact: serialised ONNX in fp32.
        built: at the precision that is deployed.
        images: their files.
    """

    exact: bytes
    built: bytes
    images: tuple[Path, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What came out.

    Attributes:
        model: serialised ONNX of the whole inspector.
        prototypes: (K, D) unit rows.
        held_out: (n,) float32 scores of good images, each by prototypes that did not see it.
        again: makes the inspector once more with some nodes in higher precision.
        exact: the inspector as a build in fp32 makes it.
        trials: for comparing the two.
    """

    model: bytes
    prototypes: Vectors
    held_out: npt.NDArray[np.float32]
    again: Making
    exact: bytes
    trials: tuple[HeldOut, ...]


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
    conversion = work.conversion(exact)
    folds = list(_folds(len(images), seed=recipe.seed))
    divided = work.cells(bank, folds)
    means = work.means(divided, work.given(bank), exact)
    making = Making(work, exact, conversion, divided, folds, bank.rows, means)
    return making.learnt()


@dataclass(frozen=True, slots=True, eq=False)
class Making:
    """All that does not depend on the precision, from which an inspector is made.

    Attributes:
        work: the steps.
        exact: the features in fp32.
        conversion: brings them to the precision.
        divided: the cells of all images' patches, and of those outside each fold.
        folds: indices of images.
        rows: which patches of each image.
        means: prototypes of each division in fp32.
    """

    work: _Learning
    exact: FeaturesGraph
    conversion: Conversion
    divided: Sequence[Cells]
    folds: Sequence[npt.NDArray[np.int64]]
    rows: npt.NDArray[np.int32]
    means: Sequence[Vectors]

    def learnt(self, kept: Kept | None = None) -> Learnt:
        """The inspector.

        Args:
            kept: names of nodes of the fp32 inspector, and the higher precision in which they
                compute; names that begin with `HEAD` keep the prototypes' convolutions.
        """
        work, graph, exact = self.work, self._graph(kept), _has_head(kept)
        prototypes, *crossed = self.means
        if work.recipe.precision != "fp32":
            prototypes, *crossed = work.means(self.divided, work.deployed(graph, self.rows), graph)
        models = [completed(graph, fold, recipe=work.recipe, exact=exact) for fold in crossed]
        trials = [
            HeldOut(self._exact(index + 1), models[index], tuple(images))
            for index, images in self._trials().items()
        ]
        return Learnt(
            model=completed(graph, prototypes, recipe=work.recipe, exact=exact),
            prototypes=prototypes,
            held_out=work.held_out(self.folds, models),
            again=self,
            exact=self._exact(0),
            trials=tuple(trials),
        )

    def trial(self, kept: Kept) -> bytes:
        """The first fold's inspector, quickly: its prototypes are those in fp32.

        Good enough to see which nodes do harm; what is shipped has means of its own features.
        """
        recipe, exact = self.work.recipe, _has_head(kept)
        return completed(self._graph(kept), self.means[1], recipe=recipe, exact=exact)

    def _graph(self, kept: Kept | None) -> FeaturesGraph:
        body = {name: kind for name, kind in (kept or {}).items() if not name.startswith(HEAD)}
        return replace(self.exact, model=self.conversion.model(body))

    def _exact(self, division: int) -> bytes:
        recipe = replace(self.work.recipe, precision="fp32")
        exact = replace(self.exact, model=self.conversion.exact)
        return completed(exact, self.means[division], recipe=recipe)

    def _trials(self) -> dict[int, list[Path]]:
        """Images of the first folds, as many folds as give enough of them."""
        wanted = [(fold, index) for fold, part in enumerate(self.folds) for index in part]
        enough = np.cumsum([len(fold) for fold in self.folds]).searchsorted(TRIAL_IMAGES)
        some = evenly([pair for pair in wanted if pair[0] <= enough], TRIAL_IMAGES)
        found: dict[int, list[Path]] = {}
        for fold, index in some:
            found.setdefault(fold, []).append(self.work.images[index])
        return found


def _has_head(kept: Kept | None) -> bool:
    return any(name.startswith(HEAD) for name in kept or {})


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

    def conversion(self, exact: FeaturesGraph) -> Conversion:
        """What brings the graph to the precision that is deployed."""
        precision = self.recipe.precision
        if precision == "fp32":
            return Conversion(exact.model, precision)
        some = evenly(self.images, CALIBRATION_IMAGES)
        batches = fitted_batches(some, size=self.recipe.size, roi=self.recipe.roi)
        with self.stages.stage("precision"):
            return Conversion(exact.model, precision, calibration=batches)

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
        self, divided: Sequence[Cells], patches: Iterable[Patches], graph: FeaturesGraph
    ) -> list[Vectors]:
        """Prototypes of each division, from patches in the order of the images."""
        means = [CellMeans(cells, dimensions=graph.dimensions) for cells in divided]
        done = 0
        with self.stages.stage("means") as advance:
            for part in patches:
                for mean in means:
                    mean.add(part, start=done)
                done += len(part)
                advance(done / len(divided[0].labels))
        return [mean.unit() for mean in means]

    def given(self, bank: PatchBank) -> Iterator[Patches]:
        """The fp32 patches, a part at a time."""
        for start in range(0, len(bank.patches), PART):
            yield bank.patches[start : start + PART]

    def deployed(self, graph: FeaturesGraph, rows: npt.NDArray[np.int32]) -> Iterator[Patches]:
        """All patches at the deployed precision, image after image, a part at a time."""
        with self.open_engine(graph.model, self.recipe.precision) as engine:
            yield from patch_runs(engine, graph, self.images, roi=self.recipe.roi, rows=rows)

    def held_out(
        self, folds: Sequence[npt.NDArray[np.int64]], models: Sequence[bytes]
    ) -> npt.NDArray[np.float32]:
        """(n,) scores of the folds' images, by prototypes that were learnt from the others."""
        found = []
        with self.stages.stage("held-out scores") as advance:
            for fold, model in zip(folds, models, strict=True):
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


def completed(
    graph: FeaturesGraph, prototypes: Vectors, *, recipe: Recipe, exact: bool = False
) -> bytes:
    """The whole inspector's graph; `exact` keeps the prototypes' convolutions in fp32."""
    metadata = {
        "protoedge.model": "protoad",
        "protoedge.precision": recipe.precision,
        "protoedge.prototypes": str(len(prototypes)),
    }
    return inspector_graph(
        graph,
        prototypes,
        precision=recipe.precision,
        score=recipe.score,
        metadata=metadata,
        exact=exact,
    )


def _folds(count: int, *, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of the images to hold out, fold by fold; each image in one fold at most."""
    order = np.random.default_rng(seed).permutation(count)
    folds = np.array_split(order, min(FOLDS, count))
    for fold in folds[: 1 if count >= HOLD_OUT_FROM else None]:
        yield np.sort(fold)
