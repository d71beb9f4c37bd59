"""Which parts are taught, and with which prototypes: those that cost no defect that is found.

A prototype makes a patch good wherever it comes. So a part that shows what a defect shows lets that
defect pass once it is taught. Prototypes that cost a defect are left out; where a part stays
rejected without them, it is left out itself, and told by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibrate.protoad.prototypes import Vectors
from calibrate.protoad.taught_head import (
    MOST,
    TaughtPatches,
    choose_prototypes,
    distances_with,
)
from calibrate.threshold import reaches
from edge.teaching.new_scores import score_of_distances, score_with
from engines.manifest import Manifest

CLOSER = 0.7  # of the distance, from which patches are taken in where it did not suffice


@dataclass(frozen=True, slots=True, eq=False)
class TaughtChoice:
    """What is taught.

    Attributes:
        parts: indices of the parts that are taught.
        prototypes: that they add.
        near: distance from which patches were taken in.
    """

    parts: tuple[int, ...]
    prototypes: Vectors
    near: float


def choose_parts(
    parts: Sequence[TaughtPatches],
    defects: Sequence[TaughtPatches],
    manifest: Manifest,
    *,
    usual: float,
    most: int = MOST,
) -> TaughtChoice:
    """As many parts as can be taught, with few prototypes, so that defects are found as before.

    Args:
        parts: to be taught.
        defects: marked ones and drawn ones that are found; those that pass already don't count.
        manifest: of the inspector.
        usual: distance that a patch of a good part usually has.
        most: at most so many prototypes; parts that are rejected nevertheless need a build.
    """
    threshold = manifest.threshold.value
    found = [one for one in defects if reaches(_score(one, manifest), threshold)]
    taught = list(range(len(parts)))
    while True:
        chosen = [parts[index] for index in taught]
        near, prototypes = _find_prototypes(chosen, manifest, usual=usual, most=most)
        spared = _without_costly(prototypes, found, manifest)
        rejected = [
            index
            for index in taught
            if len(spared) < len(prototypes)
            and reaches(score_with(parts[index], spared, manifest), threshold)
        ]
        if not rejected:
            return TaughtChoice(tuple(taught), spared, near)
        taught = [index for index in taught if index not in rejected]


def _find_prototypes(
    parts: Sequence[TaughtPatches], manifest: Manifest, *, usual: float, most: int
) -> tuple[float, Vectors]:
    """As few prototypes as bring the parts below the threshold, and how near patches are then.

    Patches that are nearer than half of what makes a region say nothing new. Of parts that are
    rejected nevertheless, for many middling values, nearer ones are taken in too, down to what is
    usual.
    """
    near = max(usual, (manifest.pixel_threshold or manifest.threshold.value) / 2)
    prototypes = choose_prototypes(parts, near=near, most=most)
    while near > usual and len(prototypes) < most:
        rejected = [
            part
            for part in parts
            if reaches(score_with(part, prototypes, manifest), manifest.threshold.value)
        ]
        if not rejected:
            break
        near = max(usual, CLOSER * near)
        left = [
            TaughtPatches(part.vectors, distances_with(part, prototypes), part.shape)
            for part in rejected
        ]
        more = choose_prototypes(left, near=near, most=most - len(prototypes))
        prototypes = np.concatenate([prototypes, more]) if len(more) else prototypes
    return near, prototypes


def _without_costly(
    prototypes: Vectors, found: Sequence[TaughtPatches], manifest: Manifest
) -> Vectors:
    """The prototypes without those that let a defect pass: first what costs most."""
    kept = np.ones(len(prototypes), bool)
    lost = list(found)
    while kept.any():
        lost = [
            one
            for one in lost
            if not reaches(score_with(one, prototypes[kept], manifest), manifest.threshold.value)
        ]
        if not lost:
            break
        gains = np.sum([_gains(one, prototypes[kept], manifest) for one in lost], axis=0)
        kept[np.flatnonzero(kept)[int(gains.argmax())]] = False
    return prototypes[kept]


def _gains(defect: TaughtPatches, prototypes: Vectors, manifest: Manifest) -> Vectors:
    """(K,) how much higher a defect that is lost scores without each of the prototypes."""
    distances = 1 - defect.vectors @ prototypes.T
    all_of_them = np.minimum(defect.distances, distances.min(axis=1))
    now = score_of_distances(all_of_them, defect.shape, manifest)
    gains = np.zeros(len(prototypes), np.float32)
    nearest = np.where(distances.min(axis=1) < defect.distances, distances.argmin(axis=1), -1)
    for index in np.unique(nearest[nearest >= 0]).tolist():
        rest = np.delete(distances, index, axis=1).min(axis=1, initial=np.inf)
        without = np.minimum(defect.distances, rest)
        gains[index] = score_of_distances(without, defect.shape, manifest) - now
    if not gains.any():  # it takes several at once: begin with what covers the worst of it
        worst = np.where(nearest >= 0, defect.distances, 0).argmax()
        gains[max(0, int(nearest[worst]))] = np.finfo(np.float32).tiny
    return gains


def _score(part: TaughtPatches, manifest: Manifest) -> float:
    return score_of_distances(part.distances, part.shape, manifest)
