"""How the parts that are taught score: with what they teach, and without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.learnt import FileScores
from calibrate.likeness.clusters import Clusters
from calibrate.protoad.graph import smoothing_matrix
from calibrate.protoad.prototypes import Vectors
from calibrate.protoad.taught_head import TaughtPatches, choose_prototypes, distances_with
from edge.inspection.map_score import score_from_map
from engines.manifest import Manifest


def score_held_out(
    parts: Sequence[TaughtPatches],
    files: Sequence[Path],
    clusters: Clusters,
    *,
    manifest: Manifest,
    near: float,
) -> FileScores:
    """Of each thing that the parts show, the score without what it teaches itself."""
    scores = np.empty(len(parts), np.float32)
    for label in range(clusters.count):
        own = clusters.labels == label
        others = [part for part, is_own in zip(parts, own, strict=True) if not is_own]
        prototypes = choose_prototypes(others, near=near)
        for index in np.flatnonzero(own).tolist():
            scores[index] = score_with(parts[index], prototypes, manifest)
    return FileScores.of_clusters(scores, files, clusters)


def highest_of_clusters(
    scores: npt.NDArray[np.float32], clusters: Clusters
) -> npt.NDArray[np.float32]:
    """(count,) of each thing that is shown, the highest score."""
    return scores[clusters.highest(scores)]


def score_with(part: TaughtPatches, prototypes: Vectors, manifest: Manifest) -> float:
    """The score of a part once prototypes are added."""
    return score_of_distances(distances_with(part, prototypes), part.shape, manifest)


def score_of_distances(distances: Vectors, shape: tuple[int, int], manifest: Manifest) -> float:
    """As the graph computes it (`calibrate/protoad/graph.py`).

    Args:
        distances: (P,) of patches to their nearest prototypes.
        shape: (h, w) of the map that they make.
        manifest: of the inspector.
    """
    if manifest.score_kind == "raw":
        return float(distances.max())
    height, width = manifest.size
    rows, columns = smoothing_matrix(shape[0], height), smoothing_matrix(shape[1], width)
    anomaly_map = np.asarray(rows @ distances.reshape(shape) @ columns.T, np.float32)
    return score_from_map(anomaly_map, manifest.score_rule)
