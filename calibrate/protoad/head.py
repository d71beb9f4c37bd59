"""ProtoAD's head in NumPy: what the graph makes of features, for many forms at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibrate.backbones.features_graph import FeaturesGraph, Stage
from calibrate.protoad.graph import smoothing_matrix
from calibrate.protoad.prototypes import Vectors
from calibrate.protoad.score import Score
from calibrate.protoad.whitening import Matrices, whiten
from engines.score_rule import ScoreRule

BLOCK = 1_024  # prototypes compared at once: their products stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class FormHead:
    """Compares patches with prototypes.

    Attributes:
        prototypes: (K, D) unit rows, whitened where the patches are.
        whitening: one matrix for each stage, or none.
        stages: whose channels the patches are.
    """

    prototypes: Vectors
    whitening: Matrices
    stages: Sequence[Stage]

    def distances(self, patches: Vectors) -> Vectors:
        """(P,) distances of (P, D) unit patches to their nearest prototypes."""
        unit = whiten(patches, self.whitening, self.stages) if self.whitening else patches
        closest = np.full(len(unit), -np.inf, np.float32)
        for start in range(0, len(self.prototypes), BLOCK):
            products = unit @ self.prototypes[start : start + BLOCK].T
            np.maximum(closest, products.max(axis=1), out=closest)
        return np.float32(1) - closest


class MapValues:
    """The values of a map that its score looks at."""

    def __init__(self, features: FeaturesGraph, *, score: Score, rule: ScoreRule) -> None:
        """Prepare the smoothing for a graph's maps."""
        first, (height, width) = features.stages[0], features.size
        self._raw = score == "raw"
        self._shape = first.height, first.width
        self._rows = smoothing_matrix(first.height, height)[rule.step]
        self._columns = smoothing_matrix(first.width, width)[rule.step]

    def of(self, distances: Vectors) -> npt.NDArray[np.float32]:
        """Those of the map of (P,) distances."""
        if self._raw:
            return distances
        smooth = self._rows @ distances.reshape(self._shape) @ self._columns.T
        return np.asarray(smooth.ravel(), np.float32)
