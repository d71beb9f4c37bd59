"""Good images that look unlike the others, and sets of two products, by a backbone's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.backbones.features_graph import FeaturesGraph
from calibrate.images import Roi, evenly, fitted_batches
from calibrate.odd_scores import count_odd
from calibrate.progress import Advance
from engines.engine import Engine

Vectors: TypeAlias = npt.NDArray[np.float32]

MAX_LOOKED_AT = 1_000  # images, evenly spread over all
NEIGHBOURS = 3  # whose mean distance tells how far from the others an image lies
GAP = 1.5  # times the largest distance within two groups, that two products lie apart
SMALLEST_GROUP = 0.03  # of the images, and three of them


@dataclass(frozen=True, slots=True)
class ImageKinds:
    """What features tell of the images.

    Attributes:
        looked_at: how many.
        odd: images that look unlike all others, with their distance in times the usual one.
        groups: images of each of two products, the larger first; empty where there is one.
    """

    looked_at: int
    odd: tuple[tuple[Path, float], ...] = ()
    groups: tuple[tuple[Path, ...], ...] = ()


def kinds_of(
    engine: Engine,
    graph: FeaturesGraph,
    paths: Sequence[Path],
    *,
    roi: Roi | None,
    progress: Advance,
) -> ImageKinds:
    """Compare the images by what the backbone sees of them.

    Args:
        engine: runs `graph`.
        graph: of the stages that an inspector would compare.
        paths: good images, one of each different thing.
        roi: the part that is inspected.
        progress: called with the share done.

    Raises:
        ImageError: an image cannot be read any more.
        EngineError: the engine fails.
    """
    some = evenly(paths, MAX_LOOKED_AT)
    found: list[Vectors] = []
    for images in fitted_batches(some, size=graph.size, roi=roi):
        found.append(_vectors(engine.infer(images)))
        progress(sum(map(len, found)) / len(some))
    return kinds_of_vectors(some, np.concatenate(found)) if found else ImageKinds(0)


def kinds_of_vectors(paths: Sequence[Path], vectors: Vectors) -> ImageKinds:
    """From one vector of each image, (n, D)."""
    count = len(paths)
    if count <= NEIGHBOURS:
        return ImageKinds(count)
    squares = np.einsum("nd,nd->n", vectors, vectors)
    between = squares[:, None] + squares - 2 * vectors @ vectors.T
    distances = np.sqrt(np.maximum(between, 0))
    near = np.sort(distances, axis=1)[:, 1 : NEIGHBOURS + 1].mean(axis=1)
    order = np.argsort(-near, kind="stable")
    odd = order[: count_odd(near[order])]
    usual = max(float(np.median(near)), 1e-9)
    groups = _groups(distances)
    return ImageKinds(
        looked_at=count,
        odd=tuple((paths[index], float(near[index]) / usual) for index in odd),
        groups=tuple(tuple(paths[index] for index in group) for group in groups),
    )


def _groups(distances: Vectors) -> tuple[npt.NDArray[np.int64], ...]:
    """Two groups whose nearest members lie further apart than any neighbours within; else none.

    What joins the images by the shortest ways, cut at its longest piece.
    """
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    tree = minimum_spanning_tree(np.maximum(distances, 1e-9)).tocoo()
    order = np.argsort(-tree.data, kind="stable")
    smallest = max(3, int(np.ceil(SMALLEST_GROUP * len(distances))))
    for place, cut in enumerate(order[:-1]):
        rest = tree.copy()
        rest.data = np.where(np.arange(len(tree.data)) == cut, 0, tree.data)
        rest.eliminate_zeros()
        labels = connected_components(rest, directed=False)[1]
        sizes = np.bincount(labels)
        if sizes.min() >= smallest:
            is_apart = tree.data[cut] >= GAP * tree.data[order[place + 1]]
            largest = np.argsort(-sizes, kind="stable")
            return tuple(np.flatnonzero(labels == one) for one in largest) if is_apart else ()
    return ()


def _vectors(outputs: Sequence[npt.NDArray[np.generic]]) -> Vectors:
    """(n, D) mean of each stage's features over the picture, each stage of length 1."""
    parts = []
    for output in outputs:
        mean = np.asarray(output, np.float32).mean(axis=(2, 3))
        parts.append(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9))
    return np.concatenate(parts, axis=1)
