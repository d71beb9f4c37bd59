"""Features: the weighing of stages, and the bank of patches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.backbones.features_graph import features_graph
from calibrate.precision.convert import Conversion
from calibrate.protoad.features import balance_stages, draw_rows, patch_bank, unit_patches
from calibrate.protoad.graph import inspector_graph
from engines.cpu.onnxruntime import OnnxRuntimeEngine

SIZE = (64, 96)
LAYERS = ("layer2", "layer3")


@pytest.fixture(scope="module")
def graph(small_backbone):
    given = features_graph(small_backbone().backbone, size=SIZE, layers=LAYERS)
    stages = (given.stages[0], replace(given.stages[1], weight=1.7))
    return replace(given, stages=stages)


@pytest.fixture(scope="module")
def engine(graph):
    with OnnxRuntimeEngine(graph.model, precision="fp32") as opened:
        yield opened


@pytest.fixture(scope="module")
def paths(pictures, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("features")
    found = []
    for index, image in enumerate(pictures(21, SIZE)):
        found.append(folder / f"{index:02}.png")
        cv2.imwrite(str(found[-1]), image)
    return found


def features_of(engine, path: Path) -> list[np.ndarray]:
    return list(engine.infer(cv2.imread(str(path))[None]))


def test_patches_are_unit_vectors_in_which_coarse_stages_repeat(graph, engine, paths) -> None:
    outputs = features_of(engine, paths[0])
    patches = unit_patches(outputs, graph.stages)
    assert patches.shape == (1, 8 * 12, 72)
    np.testing.assert_allclose(np.linalg.norm(patches, axis=2), 1, atol=1e-6)
    row, column = 5, 7
    fine = outputs[0][0, :, row, column]
    coarse = 1.7 * outputs[1][0, :, row // 2, column // 2]
    expected = np.concatenate([fine, coarse])
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(patches[0, row * 12 + column], expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_bank_holds_the_vectors_that_the_graph_compares(
    precision, graph, paths, pictures
) -> None:
    """Every patch of an image is a prototype of its own graph: then it is at distance 0."""
    conversion = Conversion(graph.model, precision, calibration=[pictures(4, SIZE)])
    lower = replace(graph, model=conversion.model())
    rows = draw_rows(lower, 2, memory_mib=64)
    assert rows.shape == (2, 96)
    with OnnxRuntimeEngine(lower.model, precision=precision) as opened:
        bank = patch_bank(opened, lower, paths[:2], roi=None, rows=rows)
    assert bank.patches.dtype == np.float16
    first = bank.of_images(np.array([0])).astype(np.float32)
    model = inspector_graph(lower, first, precision=precision)
    with OnnxRuntimeEngine(model, precision=precision) as opened:
        own, other = opened.infer(np.stack([cv2.imread(str(path)) for path in paths[:2]]))[0]
    assert np.abs(own).max() < 1e-3  # float16 holds 11 bits
    assert other.max() > 0.01
    # And the distance is that of the vectors: the cosine computed outside, before smoothing.
    second = bank.of_images(np.array([1])).astype(np.float32)
    raw = inspector_graph(lower, first, precision=precision, score="raw")
    with OnnxRuntimeEngine(raw, precision=precision) as opened:
        _, scores = opened.infer(cv2.imread(str(paths[1]))[None])
    assert abs(float(scores[0]) - (1 - (second @ first.T).max(axis=1).min())) < 2e-3


def test_weighed_stages_are_equally_long(graph, engine, paths) -> None:
    weighed = balance_stages(engine, graph, paths, roi=None)
    assert weighed.stages[0].weight == 1.0
    lengths = np.zeros(2)
    for path in paths:
        for index, output in enumerate(features_of(engine, path)):
            lengths[index] += np.linalg.norm(output, axis=1).mean()
    assert weighed.stages[1].weight == pytest.approx(lengths[0] / lengths[1], rel=1e-5)
    # A weight in use before does not count twice.
    assert balance_stages(engine, weighed, paths, roi=None).stages == weighed.stages


def test_many_images_are_weighed_by_an_even_choice(graph, paths) -> None:
    """The last ones of 100 must not be without influence."""

    class Counting:
        size = SIZE

        def __init__(self) -> None:
            self.seen = 0

        def infer(self, images):
            self.seen += len(images)
            return tuple(
                np.ones((len(images), stage.channels, 2, 2), np.float32) * images[0, 0, 0, 0]
                for stage in graph.stages
            )

    counting = Counting()
    balance_stages(counting, graph, [paths[0]] * 200, roi=None)
    assert counting.seen == 64
    from calibrate.images import evenly

    assert evenly(range(100), 64)[0] == 0
    assert evenly(range(100), 64)[-1] >= 98
    assert len(set(evenly(range(100), 64))) == 64
    assert list(evenly(range(10), 64)) == list(range(10))
    assert list(evenly(range(128), 64)) == list(range(0, 128, 2))


def test_a_silent_stage_is_left_alone(graph) -> None:
    class Silent:
        def infer(self, images):
            shapes = [(len(images), s.channels, s.height, s.width) for s in graph.stages]
            return np.ones(shapes[0], np.float32), np.zeros(shapes[1], np.float32)

    found = balance_stages(Silent(), graph, [], roi=None)
    assert [stage.weight for stage in found.stages] == [1.0, 1.0]


@pytest.mark.parametrize("memory_mib", [1, 4])
def test_memory_is_bounded_and_every_image_gives_as_many_patches(
    memory_mib, graph, engine, paths
) -> None:
    wide = [*paths, *paths] * 10  # 420 images of 96 patches of 72 float16: 5.5 MiB
    told: list[float] = []
    rows = draw_rows(graph, len(wide), memory_mib=memory_mib, seed=1)
    bank = patch_bank(engine, graph, wide, roi=None, rows=rows, progress=told.append)
    assert 0.95 * memory_mib * 2**20 < bank.patches.nbytes <= memory_mib * 2**20
    assert len(rows) == len(wide)
    assert told == sorted(told)
    assert told[-1] == 1.0
    # Each image's rows are its own patches, in no image twice.
    for index in (0, 10, 419):
        whole = unit_patches(features_of(engine, wide[index]), graph.stages)[0]
        given = bank.of_images(np.array([index])).astype(np.float32)
        assert len(set(rows[index])) == rows.shape[1]
        np.testing.assert_allclose(given, whole[rows[index]], atol=1e-3)


def test_the_draw_is_decided_by_the_seed(graph) -> None:
    first, again, other = (draw_rows(graph, 240, memory_mib=1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_so_little_memory_still_leaves_one_patch_of_each_image(graph) -> None:
    assert draw_rows(graph, 7, memory_mib=0).shape == (7, 1)
