"""Both ways to choose prototypes, against plain statements of the same algorithms."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.protoad import prototypes
from calibrate.protoad.prototypes import (
    SAME,
    CellMeans,
    Cells,
    cells_of_patches,
    finch,
    k_centres,
    unit_rows,
)


def rows(count: int, dimensions: int, *, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return unit_rows(random.normal(size=(count, dimensions)).astype(np.float32))


def means_in(patches: np.ndarray, cells: Cells) -> np.ndarray:
    means = CellMeans(cells, dimensions=patches.shape[1])
    means.add(patches, start=0)
    return means.unit()


def chords(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows.astype(np.float64) - centre.astype(np.float64), axis=1)


def greedy(patches: np.ndarray, count: int, first: int) -> list[int]:
    """The farthest from all chosen before, one at a time, every distance computed."""
    chosen, distance = [first], chords(patches, patches[first])
    while len(chosen) < count:
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = np.minimum(distance, chords(patches, patches[farthest]))
    return chosen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pool", [1, 7, 64, 4096])
def test_k_centres_are_those_of_the_plain_greedy_algorithm(seed, pool) -> None:
    patches = rows(500, 12, seed=seed)
    with patch.object(prototypes, "POOL", pool), patch.object(prototypes, "BLOCK", 97):
        found, nearest = k_centres(patches, 120, seed=seed)
    assert found.tolist() == greedy(patches, 120, int(found[0]))
    np.testing.assert_array_equal(nearest, (patches @ patches[found].T).argmax(axis=1))


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 250),
    dimensions=st.integers(2, 20),
    copies=st.integers(1, 3),
    count=st.integers(1, 300),
    pool=st.integers(1, 300),
    half=st.booleans(),
)
def test_each_centre_is_the_farthest_of_all(
    seed, size, dimensions, copies, count, pool, half
) -> None:
    """Whatever the pool, were they float16 once, and however often each is there."""
    patches = rows(size, dimensions, seed=seed)
    if half:
        patches = unit_rows(patches.astype(np.float16).astype(np.float32))
    patches = np.tile(patches, (copies, 1))
    with patch.object(prototypes, "POOL", pool), patch.object(prototypes, "BLOCK", 64):
        chosen, nearest = k_centres(patches, count, seed=seed)
    assert 1 <= len(chosen) <= min(count, size)
    assert len({patches[index].tobytes() for index in chosen}) == len(chosen)
    slack = 1e-4  # float32's rounding of distances above SAME
    distance = chords(patches, patches[chosen[0]])
    for index in chosen[1:]:
        assert distance[index] >= distance.max() - slack
        distance = np.minimum(distance, chords(patches, patches[index]))
    if len(chosen) < count:
        assert distance.max() < SAME + slack, "it stopped though another patch differs"
    own = np.linalg.norm(patches - patches[chosen][nearest], axis=1)
    np.testing.assert_allclose(own, distance, atol=1e-3)
    assert nearest[chosen].tolist() == list(range(len(chosen)))


def test_the_seed_decides_the_first_centre_and_nothing_else_does() -> None:
    patches = rows(3000, 30, seed=1).astype(np.float16)
    first, again, other = (cells_of_patches(patches, 200, seed=seed).labels for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("dimensions", [16, 200])
@pytest.mark.parametrize("method", ["coreset", "finch"])
def test_prototypes_are_unit_rows_and_at_most_so_many(method, dimensions) -> None:
    patches = rows(700, dimensions, seed=2).astype(np.float16)
    cells = cells_of_patches(patches, 50, method=method)
    assert set(cells.labels) - {-1} == set(range(cells.count)), "no cell is empty"
    found = means_in(patches, cells)
    assert found.dtype == np.float32
    assert found.shape[1] == dimensions
    assert 1 < len(found) <= 50
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_prototypes_of_the_coreset_cover_every_kind_of_patch() -> None:
    """Also in more dimensions than the centres are looked for in."""
    kinds = rows(40, 300, seed=3)
    noise = 0.002 * np.random.default_rng(4).normal(size=(40, 50, 300))
    patches = unit_rows((kinds[:, None] + noise).reshape(-1, 300).astype(np.float32))
    cells = cells_of_patches(patches, 60)
    kind = np.arange(2000) // 50
    for cell in range(cells.count):
        assert len(set(kind[cells.labels == cell])) == 1, "a cell mixes kinds"
    nearest = means_in(patches, cells) @ kinds.T
    np.testing.assert_allclose(nearest.max(axis=1), 1, atol=2e-3)
    assert set(nearest.argmax(axis=1)) == set(range(40))


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 60),
    count=st.integers(1, 9),
    part=st.integers(1, 60),
)
def test_means_are_those_of_each_cell_however_the_patches_come(seed, size, count, part) -> None:
    random = np.random.default_rng(seed)
    patches = rows(size + count, 5, seed=seed)
    labels = np.concatenate([np.arange(count), random.integers(-1, count, size)]).astype(np.int32)
    means = CellMeans(Cells(labels, count), dimensions=5)
    for start in range(0, len(patches), part):
        means.add(patches[start : start + part], start=start)
    expected = [patches[labels == cell].astype(float).mean(axis=0) for cell in range(count)]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(means.unit(), expected, atol=1e-4)


def test_more_prototypes_than_patches_gives_each_patch_once() -> None:
    patches = np.tile(rows(20, 6, seed=9), (3, 1))
    found = means_in(patches, cells_of_patches(patches, 64))
    assert len(found) == 20
    np.testing.assert_allclose((found @ patches.T).max(axis=0), 1, atol=1e-6)


def test_progress_ends_at_all() -> None:
    told: list[float] = []
    with patch.object(prototypes, "POOL", 32):
        k_centres(rows(400, 8, seed=0), 100, progress=told.append)
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == 1.0


def plain_finch(patches: np.ndarray) -> list[list[set[int]]]:
    """Every partition, finest first: components of the graph of first neighbours, by hand."""
    partitions: list[list[set[int]]] = []
    clusters = [{index} for index in range(len(patches))]
    while len(clusters) > 2:
        means = np.array([patches[sorted(cluster)].astype(float).mean(0) for cluster in clusters])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        cosine = means @ means.T
        np.fill_diagonal(cosine, -2)
        parts = [{index, int(other)} for index, other in enumerate(cosine.argmax(1))]
        joined: list[set[int]] = []
        for part in parts:
            touching = [other for other in joined if other & part]
            joined = [other for other in joined if not other & part]
            joined.append(part.union(*touching))
        clusters = [set().union(*(clusters[index] for index in part)) for part in joined]
        partitions.append(clusters)
    return partitions


def means_of(patches: np.ndarray, clusters: list[set[int]]) -> np.ndarray:
    means = np.array([patches[sorted(cluster)].astype(float).mean(0) for cluster in clusters])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def assert_same_rows(found: np.ndarray, expected: np.ndarray) -> None:
    """The same set of rows, in any order."""
    assert found.shape == expected.shape
    cosine = found @ expected.T
    np.testing.assert_allclose(cosine.max(axis=1), 1, atol=1e-6)
    assert sorted(cosine.argmax(axis=1)) == list(range(len(expected)))


@pytest.mark.parametrize("seed", range(6))
def test_finch_is_the_plain_algorithm_at_every_partition(seed) -> None:
    patches = rows(300, 5, seed=seed)
    partitions = plain_finch(patches)
    assert len(partitions) >= 3
    with patch.object(prototypes, "FINCH_BLOCK", 64):
        for clusters in partitions:
            found = means_in(patches, finch(patches, len(clusters)))
            assert_same_rows(found, means_of(patches, clusters))
    between = len(partitions[0]) - 1  # not enough for the finest, so that it is the next one
    assert_same_rows(means_in(patches, finch(patches, between)), means_of(patches, partitions[1]))


def test_finch_finds_clusters_that_are_there() -> None:
    centres = rows(8, 40, seed=0)
    noise = 0.01 * np.random.default_rng(1).normal(size=(8, 30, 40))
    patches = unit_rows((centres[:, None] + noise).reshape(-1, 40).astype(np.float32))
    found = means_in(patches, finch(patches, 8))
    assert len(found) <= 8
    if len(found) == 8:
        np.testing.assert_allclose((found @ centres.T).max(axis=1), 1, atol=1e-3)


def test_finch_draws_evenly_from_many_patches() -> None:
    patches = rows(900, 6, seed=3)
    with patch.object(prototypes, "FINCH_PATCHES", 200):
        drawn, again, other = (
            cells_of_patches(patches, 100, method="finch", seed=seed) for seed in (1, 1, 2)
        )
    np.testing.assert_array_equal(drawn.labels, again.labels)
    assert not np.array_equal(drawn.labels, other.labels)
    assert drawn.count <= 100
    assert (drawn.labels >= 0).sum() <= 200
