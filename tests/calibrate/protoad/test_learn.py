"""Learning: what is held out was not learnt from, and the same seed learns the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from calibrate.images import ImagesError, fit_image
from calibrate.learnt import LearntInspector
from calibrate.likeness.clusters import Clusters
from calibrate.progress import Stages
from calibrate.protoad import learn as module
from calibrate.protoad.folds import folds_of
from calibrate.protoad.learn import PreparedProtoad, prepare_protoad
from calibrate.protoad.options import Form, ProtoadOptions
from calibrate.threshold import raise_above_learnt, reaches, threshold_from_scores
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.engine import Precision

SIZE = (64, 64)


def options(*, prototypes: int = 200, **changes) -> ProtoadOptions:
    given = {"precision": "fp32", "size": SIZE, "layers": ("layer2", "layer3")}
    return ProtoadOptions(**{**given, **changes}, form=Form(prototypes=prototypes))


@pytest.fixture(scope="module")
def images(pictures, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Thirteen different images: whoever has not seen one of them scores it high."""
    folder = tmp_path_factory.mktemp("learning")
    found = []
    for index, image in enumerate(pictures(13, SIZE)):
        found.append(folder / f"{index:02}.png")
        cv2.imwrite(str(found[-1]), image)
    return found


def prepared(
    backbone, images, stages: Stages | None = None, clusters: Clusters | None = None, **changes
) -> PreparedProtoad:
    return prepare_protoad(
        backbone,
        images,
        options=options(**changes),
        open_engine=lambda model, precision: OnnxRuntimeEngine(model, precision=precision),
        stages=stages or Stages(),
        clusters=clusters,
    )


def learnt(backbone, images, stages: Stages | None = None, **changes) -> LearntInspector:
    return prepared(backbone, images, stages, **changes).rebuild({})


def prototypes_in(model: bytes) -> np.ndarray:
    """(K, D) unit rows, in which a stage's part is scaled by its weight."""
    stored = {
        weight.name: onnx.numpy_helper.to_array(weight)
        for weight in onnx.load_model_from_string(model).graph.initializer
    }
    names = [name for name in stored if name.endswith("/prototypes")]
    assert len(names) >= 1
    weighed = np.concatenate([stored[name][:, :, 0, 0] for name in names], axis=1)
    weighed = weighed.astype(np.float32)
    return weighed / np.linalg.norm(weighed, axis=1, keepdims=True)


def scores(model: bytes, images: list[Path], *, precision: str = "fp32") -> np.ndarray:
    with OnnxRuntimeEngine(model, precision=precision) as engine:
        fitted = [fit_image(cv2.imread(str(path)), SIZE) for path in images]
        return engine.infer(np.stack(fitted))[1]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_held_out_images_look_less_familiar_than_learnt_ones(
    precision, small_backbone, images
) -> None:
    # Room for every patch, so that an image that was learnt from is known by heart.
    found = learnt(small_backbone().backbone, images, precision=precision, prototypes=2000)
    assert found.held_out.shape == (13,)
    assert found.held_out.dtype == np.float32
    known = scores(found.model, images, precision=precision)
    assert found.held_out.min() > 3 * known.max()
    metadata = {e.key: e.value for e in onnx.load_model_from_string(found.model).metadata_props}
    assert metadata == {
        "protoedge.model": "protoad",
        "protoedge.precision": precision,
        "protoedge.prototypes": str(found.prototypes),
    }


def test_a_held_out_score_is_that_of_a_build_without_the_image(small_backbone, images) -> None:
    backbone = small_backbone().backbone
    folds = list(folds_of(Clusters.singles(13), seed=0))
    assert sorted(index for fold in folds for index in fold) == list(range(13))
    assert len(folds) == 5
    found = learnt(backbone, images, score="smoothed")
    fold = folds[0]
    others = [path for index, path in enumerate(images) if index not in fold]
    without = learnt(backbone, others, score="smoothed")
    # Nearly: the whole build weighs and whitens its stages by all images.
    expected = scores(without.model, [images[index] for index in fold])
    np.testing.assert_allclose(found.held_out[: len(fold)], expected, rtol=0.05)


def test_the_same_seed_learns_the_same(small_backbone, images) -> None:
    backbone = small_backbone().backbone
    first, second = learnt(backbone, images, seed=3), learnt(backbone, images, seed=3)
    assert first.model == second.model
    np.testing.assert_array_equal(first.held_out, second.held_out)
    assert learnt(backbone, images, seed=4).model != first.model


def test_the_prototypes_are_in_the_graph(small_backbone, images) -> None:
    given = prepared(small_backbone().backbone, images, method="finch")
    found = given.rebuild({})
    cosine = (prototypes_in(found.model) * given.means[0]).sum(axis=1)
    assert (cosine > 0.9).all(), "each stage's part is scaled by one weight"
    assert len(cosine) == found.prototypes
    assert 1 < found.prototypes <= 200


def test_few_images_are_refused(small_backbone, images) -> None:
    with pytest.raises(ImagesError, match="4 usable good images; at least 5 are needed"):
        learnt(small_backbone().backbone, images[:4])
    assert learnt(small_backbone().backbone, images[:5]).held_out.shape == (5,)


@pytest.mark.parametrize(("count", "prototypes"), [(5, 200), (10, 1), (20, 200)])
def test_images_that_are_all_the_same_break_nothing(
    small_backbone, images, count, prototypes
) -> None:
    """Nothing varies, so nothing has a unit: the score is the map's highest value, as it is."""
    made = prepared(
        small_backbone().backbone, [images[0]] * count, prototypes=prototypes, score="top"
    )
    (term,) = made.score_rule.terms
    assert (term.gain, term.offset) == (1, 0)
    inspector = made.rebuild({})
    assert np.isfinite(inspector.held_out).all() and np.ptp(inspector.held_out) < 1e-5
    same, *others = scores(inspector.model, images)
    assert np.isfinite([same, *others]).all()
    assert same < min(others)
    threshold = threshold_from_scores(inspector.held_out, false_rejects=0.01)
    assert threshold.value == pytest.approx(inspector.held_out.max(), abs=1e-5)


def test_many_images_are_held_out_once() -> None:
    (fold,) = folds_of(Clusters.singles(2000), seed=1)
    assert len(fold) == 400
    assert len(list(folds_of(Clusters.singles(1999), seed=1))) == 5


def test_every_stage_is_told_from_start_to_end(small_backbone, images) -> None:
    told: dict[str, list[float]] = {}
    stages = Stages(lambda name, share: told.setdefault(name, []).append(share))
    learnt(small_backbone().backbone, images, stages, precision="int8")
    before = ["graph", "features", "precision", "prototypes", "means", "metric", "score"]
    expected = [*before, "held-out scores", "learnt scores"]
    assert list(told) == expected
    assert all(shares[0] == 0.0 and shares[-1] == 1.0 for shares in told.values())
    assert list(stages.seconds) == list(told)


def test_every_engine_is_closed(small_backbone, images) -> None:
    opened: list[bool] = []

    @contextmanager
    def watched(model: bytes, precision: Precision) -> Iterator[OnnxRuntimeEngine]:
        opened.append(True)
        with OnnxRuntimeEngine(model, precision=precision) as engine:
            yield engine
        opened.remove(True)

    prepare_protoad(
        small_backbone().backbone,
        images,
        options=options(),
        open_engine=watched,
        stages=Stages(),
    ).rebuild({})
    assert opened == []


def test_int8_calibrates_on_an_even_choice_of_the_images(
    small_backbone, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def noted(paths, **given):
        asked.extend(paths)
        return original(paths, **given)

    original = module.fitted_batches
    monkeypatch.setattr(module, "CALIBRATION_IMAGES", 8)
    monkeypatch.setattr(module, "fitted_batches", noted)
    learnt(small_backbone().backbone, images, precision="int8")
    assert len(asked) >= 8
    assert asked[:8] != images[:8]
    assert asked[7] in images[-2:]


def test_every_precision_has_the_same_cells(
    small_backbone, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else builds would differ by which patches they chose and not by their arithmetic."""
    seen: list[np.ndarray] = []

    def noted(*args, **given):
        cells = original(*args, **given)
        seen.append(cells.labels)
        return cells

    original = module.cells_of_patches
    monkeypatch.setattr(module, "cells_of_patches", noted)
    backbone = small_backbone().backbone
    models = [learnt(backbone, images, precision=p).model for p in ("fp32", "fp16", "int8")]
    found = [prototypes_in(model) for model in models]
    for labels in (seen[:6], seen[6:12], seen[12:]):
        for first, other in zip(seen[:6], labels, strict=True):
            np.testing.assert_array_equal(first, other)
    # The means are of each precision's own features: close, and not the same.
    for other in found[1:]:
        cosine = (found[0] * other).sum(axis=1)
        assert cosine.min() > 0.98
        assert not np.array_equal(found[0], other)


def test_images_of_one_thing_are_held_out_together_and_count_once(small_backbone, images) -> None:
    clusters = Clusters.numbered([0, 0, 1, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9])
    for seed in range(5):
        folds = list(folds_of(clusters, seed=seed))
        assert sorted(index for fold in folds for index in fold) == list(range(13))
        for thing in range(clusters.count):
            assert sum(thing in clusters.labels[fold] for fold in folds) == 1
    found = learnt(small_backbone().backbone, images, clusters=clusters)
    assert len(found.held_out) == len(found.held_out_files) == len(found.peaks) == 10
    assert len(found.learnt.values) == 10


@pytest.mark.parametrize("different", [1, 2, 5])
@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_what_was_learnt_passes(different, rate, small_backbone, images) -> None:
    """Of twelve images that show so few things no more are rejected than the rate allows."""
    things = [images[index % different] for index in range(12)]
    clusters = Clusters.numbered([index % different for index in range(12)])
    found = learnt(small_backbone().backbone, things, clusters=clusters, prototypes=20)
    held_out = threshold_from_scores(found.held_out, false_rejects=rate)
    threshold = raise_above_learnt(held_out, scores=found.held_out, learnt=found.learnt.values)
    rejected = reaches(scores(found.model, images[:different]), threshold.value).sum()
    assert rejected <= different * rate
    assert threshold.held_out == different
    assert threshold.bound >= 1 - 0.05 ** (1 / different) - 1e-9
