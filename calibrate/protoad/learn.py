"""ProtoAD from good images: features, prototypes, the graph, and scores of unseen images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.backbones.backbone import Backbone
from calibrate.backbones.features_graph import FeaturesGraph, features_graph
from calibrate.images import evenly, fitted_batches
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
from calibrate.node_names import HEAD, HigherPrecisionNodes
from calibrate.precision.convert import CALIBRATION_IMAGES, Conversion
from calibrate.progress import Stages
from calibrate.protoad.features import (
    PatchBank,
    balance_stages,
    draw_rows,
    patch_bank,
    patch_runs,
)
from calibrate.protoad.folds import folds_of
from calibrate.protoad.graph import inspector_graph
from calibrate.protoad.options import ProtoadOptions
from calibrate.protoad.prototypes import (
    CellMeans,
    Cells,
    Patches,
    Vectors,
    cells_of_patches,
    shortened,
)
from calibrate.protoad.score import learn_rule, rule_to_learn
from calibrate.protoad.tune import TuningImages, form_of_record, tune_form
from calibrate.protoad.whitening import Matrices, whiten, whitening_matrices
from engines.engine import Precision
from engines.score_rule import MAXIMUM, ScoreRule, means_of_highest
from engines.tuning_record import TuningRecord

PART = 8_192  # patches that are added to the means at once
SCORE_IMAGES = 160  # held-out ones, from which the unit of each share is learnt


def prepare_protoad(
    backbone: Backbone,
    images: Sequence[Path],
    *,
    options: ProtoadOptions,
    open_engine: OpenEngine,
    stages: Stages,
    clusters: Clusters | None = None,
) -> PreparedProtoad:
    """Learn from good images all that does not depend on the precision.

    The patches are divided into cells by their fp32 features, whatever the precision, so that
    builds at different precisions differ by their arithmetic and not by which patches they
    happened to choose. The prototypes are the cells' means in the features of the graph and the
    engine that are deployed. So are the held-out scores: each fold's prototypes are put into a
    graph of their own that the engine runs.

    Args:
        backbone: the feature extractor.
        images: usable good images.
        options: everything else that decides the outcome.
        open_engine: opens the deployed engine on a graph of a precision.
        stages: told about progress.
        clusters: which of the images show one thing, and are held out together; None: none do.

    Raises:
        ImagesError: fewer than 5 images.
        BackboneError, PrecisionError, EngineError: as their own modules say.
    """
    require_images(images, good_number="a few hundred")
    alike = clusters or Clusters.singles(len(images))
    steps = _Steps(images, alike, options, open_engine, stages)
    with stages.stage("graph"):
        features = features_graph(
            backbone, size=options.size, layers=options.layers, tiles=options.tiles
        )
    features, bank = steps.bank(features)
    conversion = steps.conversion(features)
    folds = list(folds_of(alike, seed=options.seed))
    tuning = steps.tune(TuningImages(images, folds, bank, features)) if options.tuned else None
    steps = steps.with_form(tuning)
    divided = steps.cells(bank, folds)
    means = steps.means(divided, _parts(bank), features)
    whitening = steps.whitening(bank, divided, means, features)
    prepared = PreparedProtoad(
        steps, features, conversion, divided, folds, bank.rows, means, whitening, tuning
    )
    if options.score == "top":
        prepared = replace(prepared, score_rule=prepared.learn_score())
    return prepared


@dataclass(frozen=True, slots=True, eq=False)
class PreparedProtoad:
    """From which an inspector is made; a `calibrate.learnt.PreparedInspector`.

    Attributes:
        steps: of learning.
        features: in fp32.
        conversion: brings them to the precision.
        divided: the cells of all images' patches, and of those outside each fold.
        folds: indices of images.
        rows: which patches of each image.
        means: (K, D) prototypes of each division in fp32.
        whitening: of each division, the stages' matrices; none with the plain cosine.
        tuning: how the form was chosen; None where it was given.
        score_rule: how the map becomes a score, at every precision.
    """

    steps: _Steps
    features: FeaturesGraph
    conversion: Conversion
    divided: Sequence[Cells]
    folds: Sequence[npt.NDArray[np.int64]]
    rows: npt.NDArray[np.int32]
    means: Sequence[Vectors]
    whitening: Sequence[Matrices]
    tuning: TuningRecord | None = None
    score_rule: ScoreRule = MAXIMUM

    @property
    def fp32(self) -> bytes:
        """Serialised ONNX of the inspector as a build in fp32 makes it."""
        return self._fp32(0)

    @property
    def quantised(self) -> frozenset[str]:
        """Names of the convolutions that become INT8."""
        return self.conversion.quantised

    def rebuild(self, higher: HigherPrecisionNodes) -> LearntInspector:
        """The inspector; nodes whose names begin with `HEAD` keep the prototypes in fp32."""
        steps, features = self.steps, self._features(higher)
        prototypes, *crossed = self.means
        if steps.options.precision != "fp32":
            patches = steps.deployed_patches(features, self.rows)
            prototypes, *crossed = steps.means(self.divided, patches, features)
        models = [
            self._complete(features, fold, division, higher)
            for division, fold in enumerate(crossed, start=1)
        ]
        trials = [
            HeldOutTrial(self._fp32(index + 1), models[index], tuple(images))
            for index, images in self._trial_images().items()
        ]
        held_out, peaks = steps.held_out(self.folds, models)
        model = self._complete(features, prototypes, 0, higher)
        return LearntInspector(
            model=model,
            prototypes=len(prototypes),
            held_out=held_out.values,
            held_out_files=held_out.files,
            peaks=peaks.values,
            trials=tuple(trials),
            score_rule=self.score_rule,
            learnt=steps.learnt(model),
        )

    def learn_score(self) -> ScoreRule:
        """How the map becomes a score, from held-out good images in fp32."""
        options = self.steps.options
        rule, means = rule_to_learn(options.size), []
        every = (slice(None), rule.step, rule.step)
        with self.steps.stages.stage("score") as advance:
            for fold, part in enumerate(self.folds):
                held_out = [self.steps.images[index] for index in part]
                some = evenly(held_out, SCORE_IMAGES // len(self.folds))
                model = self._fp32(fold + 1)
                with self.steps.open_engine(model, "fp32") as engine:
                    for batch in fitted_batches(some, size=options.size, roi=options.roi):
                        maps = np.asarray(engine.infer(batch)[0], np.float32)[every]
                        means += [means_of_highest(one.ravel(), rule.counts) for one in maps]
                advance((fold + 1) / len(self.folds))
        return learn_rule(rule, np.array(means))

    def quick_trial(self, higher: HigherPrecisionNodes) -> bytes:
        """The first fold's inspector; its prototypes are those in fp32.

        What is shipped has means of its own features.
        """
        return self._complete(self._features(higher), self.means[1], 1, higher)

    def _features(self, higher: HigherPrecisionNodes) -> FeaturesGraph:
        body = {name: kind for name, kind in higher.items() if not name.startswith(HEAD)}
        return replace(self.features, model=self.conversion.model(body))

    def _fp32(self, division: int) -> bytes:
        features = replace(self.features, model=self.conversion.fp32)
        return self._inspector(features, self.means[division], division, precision="fp32")

    def _complete(
        self,
        features: FeaturesGraph,
        means: Vectors,
        division: int,
        higher: HigherPrecisionNodes,
    ) -> bytes:
        fp32_head = any(name.startswith(HEAD) for name in higher)
        precision = self.steps.options.precision
        return self._inspector(features, means, division, precision=precision, fp32_head=fp32_head)

    def _inspector(
        self,
        features: FeaturesGraph,
        means: Vectors,
        division: int,
        *,
        precision: Precision,
        fp32_head: bool = False,
    ) -> bytes:
        """The graph of a division's inspector; `fp32_head` keeps the prototypes' part so."""
        matrices = self.whitening[division]
        return inspector_graph(
            features,
            whiten(means, matrices, features.stages) if matrices else means,
            precision=precision,
            whitening=matrices,
            score=self.steps.options.score,
            rule=self.score_rule,
            metadata={
                "protoedge.model": "protoad",
                "protoedge.precision": precision,
                "protoedge.prototypes": str(len(means)),
            },
            fp32_head=fp32_head,
        )

    def _trial_images(self) -> dict[int, list[Path]]:
        """Images of the first folds, as many folds as give enough of them."""
        pairs = [(fold, index) for fold, part in enumerate(self.folds) for index in part]
        enough = np.cumsum([len(fold) for fold in self.folds]).searchsorted(TRIAL_IMAGES)
        some = evenly([pair for pair in pairs if pair[0] <= enough], TRIAL_IMAGES)
        found: dict[int, list[Path]] = {}
        for fold, index in some:
            found.setdefault(fold, []).append(self.steps.images[index])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """The steps of learning, and what all of them need."""

    images: Sequence[Path]
    clusters: Clusters
    options: ProtoadOptions
    open_engine: OpenEngine
    stages: Stages

    def bank(self, features: FeaturesGraph) -> tuple[FeaturesGraph, PatchBank]:
        """The fp32 graph, its stages weighed, and the patches of all images."""
        options, roi = self.options, self.options.roi
        rows = draw_rows(
            features, len(self.images), memory_mib=options.memory_mib, seed=options.seed
        )
        with (
            self.stages.stage("features") as advance,
            self.open_engine(features.model, "fp32") as engine,
        ):
            features = balance_stages(engine, features, self.images, roi=roi)
            bank = patch_bank(engine, features, self.images, roi=roi, rows=rows, progress=advance)
        return features, bank

    def tune(self, images: TuningImages) -> TuningRecord:
        """Try forms on drawn defects."""
        return tune_form(
            images, options=self.options, open_engine=self.open_engine, stages=self.stages
        )

    def with_form(self, tuning: TuningRecord | None) -> _Steps:
        """The same with the form that was chosen, if any was."""
        form = form_of_record(tuning) if tuning else None
        return replace(self, options=replace(self.options, form=form)) if form else self

    def whitening(
        self,
        bank: PatchBank,
        divided: Sequence[Cells],
        means: Sequence[Vectors],
        features: FeaturesGraph,
    ) -> list[Matrices]:
        """Of each division, the matrices that whiten by the scatter within its cells."""
        form = self.options.form
        if form.metric == "cosine":
            return [()] * len(divided)
        with self.stages.stage("metric"):
            return [
                whitening_matrices(
                    bank.patches, cells, centres, features.stages, shrinkage=form.shrinkage
                )
                for cells, centres in zip(divided, means, strict=True)
            ]

    def conversion(self, features: FeaturesGraph) -> Conversion:
        """What brings the graph to the precision that is deployed."""
        precision = self.options.precision
        if precision == "fp32":
            return Conversion(features.model, precision)
        some = evenly(self.images, CALIBRATION_IMAGES)
        batches = fitted_batches(some, size=self.options.size, roi=self.options.roi)
        with self.stages.stage("precision"):
            return Conversion(features.model, precision, calibration=batches)

    def cells(self, bank: PatchBank, folds: Sequence[npt.NDArray[np.int64]]) -> list[Cells]:
        """The cells of all images' patches, and of those outside each fold."""
        parts = len(folds) + 1
        with self.stages.stage("prototypes") as advance:
            # The directions are those of all images: a fold's own differ by a fifth of the images.
            short = bank
            if self.options.method == "coreset":
                short = replace(bank, patches=shortened(bank.patches))
            found = [self._cells(short.patches, lambda share: advance(share / parts))]
            for fold in folds:
                others = np.setdiff1d(np.arange(len(self.images)), fold)
                some = self._cells(short.of_images(others))
                labels = np.full(bank.rows.shape, -1, np.int32)
                labels[others] = some.labels.reshape(len(others), -1)
                found.append(replace(some, labels=labels.ravel()))
                advance(len(found) / parts)
        return found

    def _cells(self, patches: Patches, progress: Callable[[float], None] | None = None) -> Cells:
        options, count = self.options, self.options.form.prototypes
        return cells_of_patches(
            patches, count, method=options.method, seed=options.seed, progress=progress
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

    def deployed_patches(
        self, graph: FeaturesGraph, rows: npt.NDArray[np.int32]
    ) -> Iterator[Patches]:
        """All patches at the deployed precision, image after image, a part at a time."""
        with self.open_engine(graph.model, self.options.precision) as engine:
            yield from patch_runs(engine, graph, self.images, roi=self.options.roi, rows=rows)

    def held_out(
        self, folds: Sequence[npt.NDArray[np.int64]], models: Sequence[bytes]
    ) -> tuple[FileScores, FileScores]:
        """Scores of the folds' images, by prototypes learnt from the others; and their peaks."""
        found, options = [], self.options
        with self.stages.stage("held-out scores") as advance:
            for fold, model in zip(folds, models, strict=True):
                paths = [self.images[index] for index in fold]
                with self.open_engine(model, options.precision) as engine:
                    found.append(
                        scores_from_files(engine, paths, size=options.size, roi=options.roi)
                    )
                advance(len(found) / len(folds))
        order = np.concatenate(folds)
        files, clusters = [self.images[index] for index in order], self.clusters.of(order)
        scores, peaks = (np.concatenate(values) for values in zip(*found, strict=True))
        return (
            FileScores.of_clusters(scores, files, clusters),
            FileScores.of_clusters(peaks, files, clusters),
        )

    def learnt(self, model: bytes) -> FileScores:
        """Scores that the inspector gives to what it learnt from."""
        options = self.options
        with (
            self.stages.stage("learnt scores"),
            self.open_engine(model, options.precision) as engine,
        ):
            scores, _ = scores_from_files(engine, self.images, size=options.size, roi=options.roi)
        return FileScores.of_clusters(scores, self.images, self.clusters)


def _parts(bank: PatchBank) -> Iterator[Patches]:
    """The fp32 patches, a part at a time."""
    for start in range(0, len(bank.patches), PART):
        yield bank.patches[start : start + PART]
