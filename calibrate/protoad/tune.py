"""The form of an inspector, chosen by defects drawn into good images that were not learnt from.

Every form is learnt from the same patches of the other folds' images, and judges the same features
of the same pictures: the backbone runs once for all of them. Nothing but good images is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.backbones.features_graph import FeaturesGraph
from calibrate.defects.draw import MIN_SIDE, draw_defects
from calibrate.defects.inspected import inspected_from_file
from calibrate.images import Image, evenly, fit_image, in_batches
from calibrate.learnt import OpenEngine
from calibrate.progress import Advance, Stages
from calibrate.protoad.choose_form import TriedForm, choose_form, describe_choice
from calibrate.protoad.features import PatchBank, unit_patches
from calibrate.protoad.head import FormHead, MapValues
from calibrate.protoad.options import Form, ProtoadOptions
from calibrate.protoad.prototypes import CellMeans, Vectors, cells_of_patches
from calibrate.protoad.score import learn_rule, rule_to_learn
from calibrate.protoad.whitening import whiten, whitening_matrices
from engines.engine import Engine
from engines.score_rule import MAXIMUM, ScoreRule, means_of_highest
from engines.tuning_record import TuningRecord

IMAGES = 80  # good ones, held out, that are drawn into
PER_IMAGE = 5  # defects, each in a copy of its own: one of each size
PROTOTYPES = (1_024, 4_096, 8_192)
METRICS = (Form(), Form(metric="cosine"), Form(shrinkage=0.3))
SEED = 1_000  # added to the build's, that the defects are not those of the build's report
PART = 32_768  # patches added to means at once
Means = npt.NDArray[np.float64]  # (n, terms)


@dataclass(frozen=True, slots=True, eq=False)
class TuningImages:
    """What forms are learnt from, and what they are tried on.

    Attributes:
        paths: good images.
        folds: indices of images that are held out together.
        bank: the patches of all of them.
        features: the fp32 graph of those patches.
    """

    paths: Sequence[Path]
    folds: Sequence[npt.NDArray[np.int64]]
    bank: PatchBank
    features: FeaturesGraph


def tune_form(
    images: TuningImages, *, options: ProtoadOptions, open_engine: OpenEngine, stages: Stages
) -> TuningRecord:
    """Try forms on drawn defects, and choose one.

    Args:
        images: good ones; of at most `IMAGES`, held out fold by fold, are copies drawn into.
        options: the form that others must beat, and what of it is tuned.
        open_engine: opens the deployed engine, on the features in fp32.
        stages: told about progress.

    Raises:
        ImageError: an image cannot be read any more.
        EngineError: the engine fails.
    """
    forms = forms_to_try(options, patches=len(images.bank.patches))
    rule = rule_to_learn(options.size) if options.score == "top" else MAXIMUM
    trial = _FormTrial(images, options, forms, rule)
    with (
        stages.stage("tuning") as advance,
        open_engine(images.features.model, "fp32") as engine,
    ):
        tried = trial.run(engine, progress=advance)
    if len(tried[0].good) < 2:
        text = f"the form was not tuned: nothing can be drawn into images below {MIN_SIDE} px"
        return TuningRecord(images=0, drawn=0, forms=(), chosen=0, reason=text)
    chosen = choose_form(tried)
    return TuningRecord(
        images=len(tried[0].good),
        drawn=tried[0].drawn.size,
        forms=tuple(one.record(tried[0]) for one in tried),
        chosen=chosen,
        reason=describe_choice(tried, chosen),
    )


def form_of_record(record: TuningRecord) -> Form | None:
    """The form that was chosen; None where none could be tried."""
    if not record.forms:
        return None
    chosen = record.forms[record.chosen]
    shrinkage = {} if chosen.shrinkage is None else {"shrinkage": chosen.shrinkage}
    return Form(metric=chosen.metric, prototypes=chosen.prototypes, **shrinkage)


def forms_to_try(options: ProtoadOptions, *, patches: int) -> list[Form]:
    """The form that others must beat, then these; none with more prototypes than patches."""
    first, tuned = options.form, options.tuned
    metrics = METRICS if "metric" in tuned else ()
    counts = PROTOTYPES if "prototypes" in tuned else ()
    every = {
        replace(metric, prototypes=count): None
        for metric in (first, *metrics)
        for count in (first.prototypes, *counts)
        if count == first.prototypes or count < patches
    }
    return list(every)


@dataclass(frozen=True, slots=True, eq=False)
class _FormTrial:
    """Scores pictures of held-out images by every form."""

    images: TuningImages
    options: ProtoadOptions
    forms: Sequence[Form]
    rule: ScoreRule

    def run(self, engine: Engine, *, progress: Advance) -> list[TriedForm]:
        """Try all forms; `engine` gives the features."""
        parts = self._parts()
        good, drawn = [], []
        for done, (fold, held_out) in enumerate(parts):
            heads = self._heads(fold)
            progress((done + 0.5) / len(parts))
            found = self._judge(engine, held_out, heads, seed=fold)
            good.append(found[0])
            drawn.append(found[1])
            progress((done + 1) / len(parts))
        pairs = zip(np.concatenate(good, axis=1), np.concatenate(drawn, axis=1), strict=True)
        return [self._tried(form, *pair) for form, pair in zip(self.forms, pairs, strict=True)]

    def _parts(self) -> list[tuple[int, list[Path]]]:
        """Images of the first folds, as many folds as give enough of them."""
        sizes = np.cumsum([len(fold) for fold in self.images.folds])
        used = int(sizes.searchsorted(IMAGES)) + 1
        pairs = [(fold, i) for fold, part in enumerate(self.images.folds[:used]) for i in part]
        some = evenly(pairs, IMAGES)
        return [
            (fold, [self.images.paths[index] for one, index in some if one == fold])
            for fold in sorted({fold for fold, _ in some})
        ]

    def _heads(self, fold: int) -> list[FormHead]:
        """Of each form, learnt from the images outside a fold."""
        images = self.images
        others = np.setdiff1d(np.arange(len(images.paths)), images.folds[fold])
        patches, stages = images.bank.of_images(others), images.features.stages
        found: dict[Form, FormHead] = {}
        for count in {form.prototypes for form in self.forms}:
            options = self.options
            cells = cells_of_patches(patches, count, method=options.method, seed=options.seed)
            sums = CellMeans(cells, dimensions=images.features.dimensions)
            for start in range(0, len(patches), PART):
                sums.add(patches[start : start + PART], start=start)
            means = sums.unit()
            for form in (form for form in self.forms if form.prototypes == count):
                if form.metric == "cosine":
                    found[form] = FormHead(means, (), stages)
                    continue
                matrices = whitening_matrices(
                    patches, cells, means, stages, shrinkage=form.shrinkage
                )
                found[form] = FormHead(whiten(means, matrices, stages), matrices, stages)
        return [found[form] for form in self.forms]

    def _judge(
        self, engine: Engine, paths: Sequence[Path], heads: Sequence[FormHead], *, seed: int
    ) -> tuple[Means, Means]:
        """(forms, n, terms) of the good images, and (forms, n · m, terms) of the drawn ones."""
        size, good = self.options.size, list[Image]()
        pictures = draw_defects(
            self._inspected(paths, good), seed=self.options.seed + SEED + seed, per_image=PER_IMAGE
        )
        drawn = self._means(engine, (fit_image(one.image, size) for one in pictures), heads)
        return self._means(engine, good, heads), drawn

    def _inspected(self, paths: Sequence[Path], fitted: list[Image]) -> Iterator[Image]:
        """What is inspected of each picture; `fitted` gets it at the model's size."""
        size, roi = self.options.size, self.options.roi
        for path in paths:
            found = inspected_from_file(path, size=size, roi=roi)
            if found is not None:
                fitted.append(fit_image(found[0], size))
                yield found[0]

    def _means(self, engine: Engine, pictures: Iterable[Image], heads: Sequence[FormHead]) -> Means:
        """(forms, pictures, terms) means of the highest values of their maps."""
        features, rule = self.images.features, self.rule
        values = MapValues(features, score=self.options.score, rule=rule)
        found: list[list[Means]] = []
        for batch in in_batches(pictures):
            outputs = [np.asarray(one, np.float32) for one in engine.infer(np.stack(batch))]
            for patches in unit_patches(outputs, features.stages):
                maps = (values.of(head.distances(patches)) for head in heads)
                found.append([means_of_highest(one, rule.counts) for one in maps])
        shape = len(found), len(heads), len(rule.terms)
        return np.array(found, np.float64).reshape(shape).swapaxes(0, 1)

    def _tried(self, form: Form, good: Means, drawn: Means) -> TriedForm:
        """A form and its scores, by a rule that its own good images give."""
        rule = self.rule
        if self.options.score == "top" and len(good):
            rule = learn_rule(rule, good)
        return TriedForm(
            form,
            self._scores(rule, good),
            self._scores(rule, drawn).reshape(-1, PER_IMAGE),
        )

    def _scores(self, rule: ScoreRule, means: Means) -> Vectors:
        column = {count: index for index, count in enumerate(self.rule.counts)}
        terms = [term.gain * means[:, column[term.count]] + term.offset for term in rule.terms]
        return np.asarray(np.max(terms, axis=0), np.float32)
