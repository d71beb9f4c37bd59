"""Prototypes: the few unit vectors that stand for all patches of the good images.

The patches are divided into cells, and each cell's mean is a prototype. Two ways to divide them:

    k_centres   cells around a greedy k-centre coreset (Gonzalez 1985; PatchCore, CVPR 2022, for its
                memory bank): each centre is the patch farthest from all centres before it
    finch       first-neighbour clustering (Sarfraz, Sharma, Stiefelhagen, CVPR 2019), the method of
                the ProtoAD paper

Centres alone lie at the rim of what is good, and a cell's mean in its middle: on magnetic tile the
means are worth .01 image and .03 pixel AUROC (docs/protoad.md). A division also carries over from
one precision to another, since it is about patches and not about their vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.progress import Advance

Patches: TypeAlias = npt.NDArray[np.float16] | npt.NDArray[np.float32]  # (N, D), unit rows
Vectors: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.int32]
PrototypeMethod = Literal["coreset", "finch"]

BLOCK = 4_096  # rows at a time: their products with some hundred centres stay near the cache
POOL = 4_096  # farthest patches among which the next centres are looked for
SAME = 0.03  # chord below which two patches that were float16 are one but for rounding
DIRECTIONS = 64  # principal directions in which k-centres are looked for
SAMPLE = 50_000  # patches from which the directions are computed
FINCH_BLOCK = 1_024
FINCH_PATCHES = 32_768  # all pairs are compared: bounded by time, not memory


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Patches divided into cells.

    Attributes:
        labels: (N,) the cell of each patch, from 0; -1 for a patch in none.
        count: how many cells; none is empty.
    """

    labels: Labels
    count: int


def cells_of_patches(
    patches: Patches,
    count: int,
    *,
    method: PrototypeMethod = "coreset",
    seed: int = 0,
    progress: Advance | None = None,
) -> Cells:
    """Divide patches into cells.

    Args:
        patches: (N, D) unit rows; for ``coreset`` also what `shortened` makes of them.
        count: at most how many cells.
        method: ``coreset``: each patch with the nearest of `count` k-centres, all in the leading
            principal directions of the patches, where that costs a sixth and is as good
            (measured); ``finch``: the finest partition of at most `count` clusters, over at most
            32 768 evenly drawn patches.
        seed: of every draw.
        progress: called with the share done.
    """
    if method == "coreset":
        chosen, nearest = k_centres(shortened(patches), count, seed=seed, progress=progress)
        return Cells(nearest, len(chosen))
    labels = np.full(len(patches), -1, np.int32)
    drawn = np.arange(len(patches))
    if len(patches) > FINCH_PATCHES:
        draw = np.random.default_rng(seed).choice(len(patches), FINCH_PATCHES, replace=False)
        drawn = np.sort(draw)
    found = finch(patches[drawn], count)
    labels[drawn] = found.labels
    return Cells(labels, found.count)


class CellMeans:
    """Prototypes from cells: sums that patches are added to, a part at a time."""

    def __init__(self, cells: Cells, *, dimensions: int) -> None:
        """Begin with nothing added; `dimensions` is D."""
        self._cells = cells
        self._sums = np.zeros((cells.count, dimensions))

    def add(self, patches: Patches, *, start: int) -> None:
        """Add the (n, D) patches whose labels begin at `start`."""
        labels = self._cells.labels[start : start + len(patches)]
        _add_by_label(self._sums, patches.astype(np.float32), labels)

    def unit(self) -> Vectors:
        """(K, D) means of what was added, as unit rows."""
        return unit_rows(self._sums.astype(np.float32))


def _add_by_label(sums: npt.NDArray[np.float64], vectors: Vectors, labels: Labels) -> None:
    """Add each vector to the row that its label names, if it has one."""
    from scipy.sparse import csr_array

    rows = np.flatnonzero(labels >= 0)
    present, place = np.unique(labels[rows], return_inverse=True)
    which = (np.ones(len(rows), np.float32), (place, rows))
    sums[present] += csr_array(which, shape=(len(present), len(vectors))) @ vectors


def unit_rows(vectors: Vectors) -> Vectors:
    """Scale each row to length 1."""
    norm = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    unit: Vectors = vectors / np.maximum(norm, np.float32(1e-12))
    return unit


def shortened(patches: Patches) -> Vectors:
    """What tells patches apart when cells are made around k-centres; for several divisions at once.

    Args:
        patches: (N, D) unit rows.

    Returns:
        (N, at most 64) unit rows: the patches along their leading principal directions (about the
        origin).
    """
    if patches.shape[1] <= DIRECTIONS:
        return unit_rows(patches.astype(np.float32, copy=False))
    sample = patches[:: max(1, len(patches) // SAMPLE)].astype(np.float32)
    _, directions = np.linalg.eigh(sample.T @ sample)  # ascending
    basis = np.ascontiguousarray(directions[:, -DIRECTIONS:])
    short = np.empty((len(patches), DIRECTIONS), np.float32)
    for start in range(0, len(patches), BLOCK):
        part = patches[start : start + BLOCK].astype(np.float32) @ basis
        short[start : start + BLOCK] = unit_rows(part)
    return short


def finch(patches: Patches, most: int) -> Cells:
    """The finest FINCH partition that has at most `most` clusters.

    One step links each vector to its nearest other one (cosine) and takes the connected
    components; the next step does the same with their means. Exact; O(N² D).

    Args:
        patches: (N, D) unit rows.
        most: largest number of clusters wanted; the coarsest partition may have more, then the
            largest clusters are kept and the other patches are in none.
    """
    cells = Cells(np.arange(len(patches), dtype=np.int32), len(patches))
    vectors = patches.astype(np.float32)
    while len(vectors) > 2:
        labels, count = _first_neighbour_components(vectors)
        cells = Cells(labels[cells.labels], count)
        if count <= most:
            return cells
        means = CellMeans(cells, dimensions=patches.shape[1])
        means.add(patches, start=0)
        vectors = means.unit()
    largest = np.argsort(-np.bincount(cells.labels), kind="stable")[:most]
    new = np.full(cells.count, -1, np.int32)
    new[largest] = np.arange(len(largest))
    return Cells(new[cells.labels], len(largest))


def _first_neighbour_components(vectors: Vectors) -> tuple[npt.NDArray[np.int32], int]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(vectors)
    nearest = np.empty(count, np.int64)
    for start in range(0, count, FINCH_BLOCK):
        cosine = vectors[start : start + FINCH_BLOCK] @ vectors.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -np.inf
        nearest[start : start + FINCH_BLOCK] = cosine.argmax(axis=1)
    links = coo_array((np.ones(count, np.int8), (np.arange(count), nearest)), shape=(count, count))
    components, labels = connected_components(links, directed=False)
    return labels, int(components)


def k_centres(
    patches: Vectors, count: int, *, seed: int = 0, progress: Advance | None = None
) -> tuple[Indices, Labels]:
    """Choose `count` patches greedily, each the farthest from those chosen before.

    The result is that of the plain greedy algorithm. Centres are found in batches: as long as
    the farthest patch of a pool is no nearer than every patch outside the pool was when the pool
    was drawn, it is the farthest of all, because distances only shrink. One matrix product then
    updates all patches for the whole batch; the triangle inequality leaves out those that no new
    centre can be nearer to.

    Args:
        patches: (N, D) unit rows.
        count: how many to choose; fewer come back when fewer distinct patches exist.
        seed: decides the first centre.
        progress: called with the share done.

    Returns:
        (K,) indices into `patches`, K <= count, in the order of choice; and of each patch, (N,),
        which of those is nearest.
    """
    first = int(np.random.default_rng(seed).integers(len(patches)))
    chosen = [first]
    centres = np.empty((count, patches.shape[1]), np.float32)
    centres[0] = patches[first]
    distance = np.full(len(patches), np.inf, np.float32)
    nearest = np.zeros(len(patches), np.int32)
    _update(patches, centres, range(1), distance, nearest)
    distance[first] = 0.0
    while len(chosen) < count:
        batch = _next_centres(patches, distance, count - len(chosen))
        if not len(batch):
            break
        new = range(len(chosen), len(chosen) + len(batch))
        centres[new.start : new.stop] = patches[batch]
        chosen.extend(int(i) for i in batch)
        _update(patches, centres, new, distance, nearest)
        distance[batch] = 0.0
        if progress:
            progress(len(chosen) / count)
    nearest[chosen] = np.arange(len(chosen))
    return np.array(chosen, np.int64), nearest


def _next_centres(patches: Vectors, distance: Vectors, most: int) -> Indices:
    """The next centres of the greedy order, as many as are certain without looking further."""
    size = min(POOL, len(distance))
    pool = np.argpartition(distance, len(distance) - size)[len(distance) - size :]
    floor = distance[pool].min() if size < len(distance) else 0.0
    rows, left = patches[pool], distance[pool].copy()
    batch: list[int] = []
    while len(batch) < most:
        farthest = int(left.argmax())
        if left[farthest] < max(floor, SAME):
            break
        batch.append(int(pool[farthest]))
        np.minimum(left, _chord(rows @ rows[farthest]), out=left)
        left[farthest] = 0.0
    return np.array(batch, np.int64)


def _update(
    patches: Vectors,
    centres: Vectors,
    new: range,
    distance: Vectors,
    nearest: npt.NDArray[np.int32],
) -> None:
    """Lower `distance` and `nearest` of every patch that one of the `new` centres is nearer to."""
    added = centres[new.start : new.stop]
    if new.start:
        # ‖p - new‖ >= ‖old - new‖ - ‖p - old‖: no gain unless ‖old - new‖ / 2 < ‖p - old‖.
        reach = _chord(centres[: new.start] @ added.T).min(axis=1) / 2
        touched = np.flatnonzero(reach[nearest] < distance)
    else:
        touched = np.arange(len(patches))
    for start in range(0, len(touched), BLOCK):
        rows = touched[start : start + BLOCK]
        cosine = patches[rows] @ added.T
        best = cosine.argmax(axis=1)
        found = _chord(np.take_along_axis(cosine, best[:, None], axis=1)[:, 0])
        closer = found < distance[rows]
        distance[rows[closer]] = found[closer]
        nearest[rows[closer]] = new.start + best[closer]


def _chord(cosine: Vectors) -> Vectors:
    """Euclidean distance between unit vectors with this cosine."""
    chord: Vectors = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return chord
