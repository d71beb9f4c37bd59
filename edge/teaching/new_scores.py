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
from calibrate.threshold import reaches
from edge.inspection.map_score import score_from_map
from engines.manifest import Manifest

CLOSER = 0.7  # of the distance, from which patches are taken in where it did not suffice


def find_prototypes(
    parts: Sequence[TaughtPatches], manifest: Manifest, *, usual: float
) -> tuple[float, Vectors]:
    """As few prototypes as bring the parts below the threshold, and how near patches are then.

    Patches that are nearer than half of what makes a region say nothing new. Where parts are
    rejected nevertheless, for many middling values, nearer ones are taken in too, down to what is
    usual.
    """
    near = max(usual, (manifest.pixel_threshold or manifest.threshold.value) / 2)
    while True:
        prototypes = choose_prototypes(parts, near=near)
        scores = [_score(part, prototypes, manifest) for part in parts]
        if near <= usual or not any(reaches(score, manifest.threshold.value) for score in scores):
            return near, prototypes
        near = max(usual, CLOSER * near)


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
            scores[index] = _score(parts[index], prototypes, manifest)
    return FileScores.of_clusters(scores, files, clusters)


def highest_of_clusters(
    scores: npt.NDArray[np.float32], clusters: Clusters
) -> npt.NDArray[np.float32]:
    """(count,) of each thing that is shown, the highest score."""
    return scores[clusters.highest(scores)]


def _score(part: TaughtPatches, prototypes: Vectors, manifest: Manifest) -> float:
    """As the graph computes it (`calibrate/protoad/graph.py`)."""
    distances = distances_with(part, prototypes)
    if manifest.score_kind == "raw":
        return float(distances.max())
    height, width = manifest.size
    rows, columns = smoothing_matrix(part.shape[0], height), smoothing_matrix(part.shape[1], width)
    anomaly_map = np.asarray(rows @ distances.reshape(part.shape) @ columns.T, np.float32)
    return score_from_map(anomaly_map, manifest.score_rule)
