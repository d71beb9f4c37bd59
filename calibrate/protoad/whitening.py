"""Whitening by the scatter within cells: what varies among like patches counts for less.

Two patches of one cell are good, so the directions in which they differ say nothing of defects.
Each stage's features are multiplied by

    W = (S / mean e + s·1)^(−1/2),   S = mean of (f − c)(f − c)ᵀ,   e = eigenvalues of S,

where f is the stage's part of a unit patch, c its cell's mean and s the shrinkage: without it,
directions in which good patches hardly vary, and which are noise, would decide. Prototypes are
compared by the cosine of what W gives, so its scale plays no part (as a Mahalanobis distance:
Mahalanobis 1936; within classes: Fisher 1936; shrunk: Ledoit and Wolf, J. Multivar. Anal. 88).
It is one matrix a stage: a 1×1 convolution before the head, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.backbones.features_graph import Stage
from calibrate.protoad.prototypes import Cells, Patches, Vectors, unit_rows

Metric: TypeAlias = Literal["whitened", "cosine"]
Matrices: TypeAlias = Sequence[Vectors]  # (C_i, C_i) symmetric, one for each stage

SHRINKAGE = 2.0  # measured over all development sets (docs/measurements.md)
SAMPLE = 100_000  # patches from which the scatter is computed
MIN_VARIANCE = 1e-8  # of a coordinate: what lies below is float16 rounding, not scatter
PART = 32_768  # patches turned to float32 at a time


def whitening_matrices(
    patches: Patches,
    cells: Cells,
    means: Vectors,
    stages: Sequence[Stage],
    *,
    shrinkage: float = SHRINKAGE,
) -> Matrices:
    """The stages' matrices, from the scatter within cells.

    Args:
        patches: (N, D) unit rows, the stages' channels one after another.
        cells: of those patches; of very many patches, some are drawn.
        means: (K, D) unit rows, of the cells.
        stages: whose channels they are.
        shrinkage: s, above 0; the smaller, the stronger is the whitening.
    """
    rows = np.flatnonzero(cells.labels >= 0)
    if len(rows) > SAMPLE:  # at random: every n-th would be the same places of every image
        rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
    scatter = np.zeros((patches.shape[1], patches.shape[1]))
    for start in range(0, len(rows), PART):
        some = rows[start : start + PART]
        apart = patches[some].astype(np.float32) - means[cells.labels[some]]
        scatter += apart.T @ apart
    scatter /= len(rows)
    return [_inverse_root(scatter[part, part], shrinkage) for part in _channels(stages)]


def whiten(vectors: Vectors, matrices: Matrices, stages: Sequence[Stage]) -> Vectors:
    """Multiply (K, D) vectors by the stages' matrices, as unit rows."""
    parts = zip(_channels(stages), matrices, strict=True)
    return unit_rows(np.concatenate([vectors[:, part] @ matrix for part, matrix in parts], axis=1))


def _channels(stages: Sequence[Stage]) -> list[slice]:
    ends = np.cumsum([stage.channels for stage in stages]).tolist()
    return [slice(end - stage.channels, end) for end, stage in zip(ends, stages, strict=True)]


def _inverse_root(scatter: npt.NDArray[np.float64], shrinkage: float) -> Vectors:
    """(S / mean e + s·1)^(−1/2), scaled so that the identity comes out where all e are equal."""
    variances, directions = np.linalg.eigh(scatter)
    mean = max(float(variances.mean()), MIN_VARIANCE)
    gains = np.sqrt((1 + shrinkage) / (np.maximum(variances, 0) / mean + shrinkage))
    return np.asarray((directions * gains) @ directions.T, np.float32)
