"""Which good images are held out together, so that none is scored by what it taught."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from calibrate.likeness.clusters import Clusters

FOLDS = 5
HOLD_OUT_FROM = 2_000
"""So many different images: one fold is enough to hold out."""


def folds_of(clusters: Clusters, *, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of the images to hold out, fold by fold; each in one fold at most.

    Images of one thing are in one fold: an inspector that has learnt one of them knows the others.
    """
    clusters = clusters.to_hold_out()
    order = np.random.default_rng(seed).permutation(clusters.count)
    folds = np.array_split(order, min(FOLDS, clusters.count))
    for fold in folds[: 1 if clusters.count >= HOLD_OUT_FROM else None]:
        yield np.flatnonzero(np.isin(clusters.labels, fold))
