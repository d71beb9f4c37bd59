"""Whitening: what varies among good patches counts for less, and the graph computes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibrate.backbones.features_graph import Stage, features_graph
from calibrate.protoad.features import unit_patches
from calibrate.protoad.graph import inspector_graph
from calibrate.protoad.prototypes import Cells, unit_rows
from calibrate.protoad.whitening import SHRINKAGE, whiten, whitening_matrices
from engines.cpu.onnxruntime import OnnxRuntimeEngine

STAGES = (Stage("fine", 4, 8, 8, 1), Stage("coarse", 3, 4, 4, 2))


def scattered(
    deviations: np.ndarray, *, count: int = 20_000
) -> tuple[np.ndarray, Cells, np.ndarray]:
    """Unit patches around two centres, with the deviations given along each axis."""
    count, random = 20_000, np.random.default_rng(0)
    centres = unit_rows(np.abs(random.normal(size=(2, 7))).astype(np.float32))
    labels = random.integers(0, 2, count).astype(np.int32)
    patches = centres[labels] + random.normal(size=(count, 7)) * deviations
    return unit_rows(patches.astype(np.float32)), Cells(labels, 2), centres


def test_directions_of_large_scatter_are_shortened() -> None:
    patches, cells, centres = scattered(np.array([0.1, 0.01, 0.01, 0.01, 0.01, 0.01, 0.1]))
    fine, coarse = whitening_matrices(patches, cells, centres, STAGES)
    assert (fine.shape, coarse.shape) == ((4, 4), (3, 3))
    assert fine[0, 0] < 0.8 * fine[1, 1]
    assert coarse[2, 2] < 0.8 * coarse[0, 0]
    largest = np.sqrt((1 + SHRINKAGE) / SHRINKAGE)
    assert np.linalg.norm(fine, 2) <= largest + 1e-5


def test_no_scatter_leaves_all_as_it_is() -> None:
    patches, cells, centres = scattered(np.zeros(7))
    fine, _ = whitening_matrices(patches, cells, centres, STAGES)
    np.testing.assert_allclose(fine / fine[0, 0], np.eye(4), atol=1e-5)


def test_patches_without_a_cell_do_not_count() -> None:
    patches, cells, centres = scattered(np.full(7, 0.05))
    some = cells.labels.copy()
    some[::2] = -1
    other = Cells(cells.labels[1::2], 2)
    found = whitening_matrices(patches, Cells(some, 2), centres, STAGES)
    expected = whitening_matrices(patches[1::2], other, centres, STAGES)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 18])
def test_the_graph_compares_whitened_patches(opset, small_backbone, pictures, directions) -> None:
    given = small_backbone(opset=opset)
    graph = features_graph(given.backbone, size=(64, 96), layers=("layer2", "layer3"))
    first, second = graph.stages
    graph = replace(graph, stages=(first, replace(second, weight=1.7)))
    random = np.random.default_rng(1)
    drawn = [random.normal(size=(stage.channels,) * 2) for stage in graph.stages]
    matrices = [(part + part.T).astype(np.float32) for part in drawn]
    prototypes, images = directions(9, graph.dimensions), pictures(1, (64, 96))
    with OnnxRuntimeEngine(graph.model, precision="fp32") as engine:
        patches = unit_patches(engine.infer(images), graph.stages)[0]
    expected = 1 - (whiten(patches, matrices, graph.stages) @ prototypes.T).max(axis=1)
    model = inspector_graph(graph, prototypes, precision="fp32", whitening=matrices, score="raw")
    with OnnxRuntimeEngine(model, precision="fp32") as engine:
        _, scores = engine.infer(images)
    assert scores[0] == pytest.approx(expected.max(), abs=1e-4)
