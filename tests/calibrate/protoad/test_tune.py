"""Tuning: forms judge what the graph would, and one that is useless is given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.images import fit_image
from calibrate.progress import Stages
from calibrate.protoad import tune
from calibrate.protoad.features import unit_patches
from calibrate.protoad.graph import inspector_graph
from calibrate.protoad.head import FormHead, MapValues
from calibrate.protoad.learn import PreparedProtoad, prepare_protoad
from calibrate.protoad.options import Form, ProtoadOptions
from calibrate.protoad.whitening import whiten
from engines.cpu.onnxruntime import OnnxRuntimeEngine

SIZE = (64, 64)
OPTIONS = ProtoadOptions(precision="fp32", size=SIZE, layers=("layer2", "layer3"))


def open_engine(model, precision) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(model, precision=precision)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve pictures of one part of coarse patches, each with its noise."""
    folder, random = tmp_path_factory.mktemp("tuning"), np.random.default_rng(0)
    part = random.integers(40, 216, (8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    for index in range(12):
        noisy = part + random.normal(0, 6, part.shape)
        cv2.imwrite(str(folder / f"{index:02}.png"), noisy.clip(0, 255).astype(np.uint8))
    return sorted(folder.iterdir())


def prepared(backbone, images, options: ProtoadOptions) -> PreparedProtoad:
    return prepare_protoad(
        backbone, images, options=options, open_engine=open_engine, stages=Stages()
    )


@pytest.mark.parametrize("metric", ["whitened", "cosine"])
@pytest.mark.parametrize("score", ["top", "raw"])
def test_a_head_in_numpy_is_that_of_the_graph(small_backbone, images, metric, score) -> None:
    options = replace(OPTIONS, form=Form(metric=metric, prototypes=64), score=score)
    made = prepared(small_backbone().backbone, images, options)
    features, means, matrices = made.features, made.means[1], made.whitening[1]
    prototypes = whiten(means, matrices, features.stages) if matrices else means
    head = FormHead(prototypes, matrices, features.stages)
    values = MapValues(features, score=score, rule=made.score_rule)
    model = inspector_graph(
        features,
        prototypes,
        precision="fp32",
        whitening=matrices,
        score=score,
        rule=made.score_rule,
    )
    pictures = np.stack([fit_image(cv2.imread(str(path)), SIZE) for path in images])
    with open_engine(features.model, "fp32") as engine, open_engine(model, "fp32") as whole:
        patches = unit_patches(engine.infer(pictures), features.stages)
        found = [made.score_rule.score(values.of(head.distances(one))) for one in patches]
        np.testing.assert_allclose(found, whole.infer(pictures)[1], atol=2e-5)


def test_a_useless_form_is_given_up(small_backbone, images, monkeypatch) -> None:
    monkeypatch.setattr(tune, "PROTOTYPES", (128,))
    useless = replace(OPTIONS, form=Form(prototypes=1), tuned=("prototypes",))
    made = prepared(small_backbone().backbone, images, useless)
    assert made.tuning is not None
    assert (made.tuning.images, made.tuning.drawn) == (12, 60)
    assert [form.prototypes for form in made.tuning.forms] == [1, 128]
    assert made.tuning.chosen == 1, made.tuning.reason
    assert len(made.means[0]) == 128
    given = replace(useless, form=Form(prototypes=128), tuned=())
    assert prepared(small_backbone().backbone, images, given).fp32 == made.fp32


def test_the_usual_form_stays_where_nothing_is_better(small_backbone, images, monkeypatch) -> None:
    monkeypatch.setattr(tune, "METRICS", (Form(shrinkage=2.001),))
    usual = replace(OPTIONS, form=Form(prototypes=64), tuned=("metric",))
    made = prepared(small_backbone().backbone, images, usual)
    assert made.tuning is not None
    assert (len(made.tuning.forms), made.tuning.chosen) == (2, 0)
    assert made.steps.options.form == usual.form


def test_forms_to_try() -> None:
    every = replace(OPTIONS, tuned=("metric", "prototypes"))
    assert tune.forms_to_try(every, patches=10**6)[0] == OPTIONS.form
    assert len(tune.forms_to_try(every, patches=10**6)) == 9
    assert {form.prototypes for form in tune.forms_to_try(every, patches=5000)} == {1024, 4096}
    number = replace(OPTIONS, tuned=("prototypes",))
    assert {form.metric for form in tune.forms_to_try(number, patches=10**6)} == {"whitened"}
    metric = replace(OPTIONS, form=Form(prototypes=300), tuned=("metric",))
    assert {form.prototypes for form in tune.forms_to_try(metric, patches=10**6)} == {300}


def test_images_too_small_to_draw_into_keep_their_form(small_backbone, tmp_path, pictures) -> None:
    for index, picture in enumerate(pictures(6, (24, 24))):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
    options = replace(OPTIONS, form=Form(prototypes=16), tuned=("metric",))
    made = prepared(small_backbone().backbone, sorted(tmp_path.iterdir()), options)
    assert made.tuning is not None
    assert made.tuning.forms == ()
    assert "nothing can be drawn into images below 32 px" in made.tuning.reason
