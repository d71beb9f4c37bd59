"""Clusters of images: which of them show one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

ClusterLabels: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which images show one thing.

    Attributes:
        labels: (n,) the cluster of each image, numbered from 0 by their first images.
    """

    labels: ClusterLabels

    @property
    def count(self) -> int:
        """How many different things there are."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def shared(self) -> tuple[ClusterLabels, ...]:
        """Indices of the images of each cluster that has several, the largest first."""
        sizes = np.bincount(self.labels, minlength=self.count)
        order = np.argsort(-sizes, kind="stable")
        return tuple(np.flatnonzero(self.labels == one) for one in order if sizes[one] > 1)

    @classmethod
    def singles(cls, count: int) -> Clusters:
        """So many images, each of something else."""
        return cls(np.arange(count))

    def to_hold_out(self) -> Clusters:
        """What is held out together; where all show one thing, each image for itself."""
        return Clusters.singles(len(self.labels)) if self.count == 1 else self

    @classmethod
    def numbered(cls, labels: Sequence[int] | ClusterLabels) -> Clusters:
        """Clusters by any labels of theirs."""
        _, first, inverse = np.unique(
            np.asarray(labels, np.int64), return_index=True, return_inverse=True
        )
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return cls(rank[inverse.ravel()])

    def describe(self) -> str:
        """How many images show how many things; empty where each shows its own."""
        images = len(self.labels)
        if self.count == images:
            return ""
        if self.count == 1:
            return f"{images} images that all show the same count as one: take other parts, too"
        return f"{images} images, {self.count} different ones: those that show the same count once"

    def of(self, chosen: Sequence[int] | ClusterLabels) -> Clusters:
        """The clusters of some of the images, in that order."""
        return Clusters.numbered(self.labels[np.asarray(chosen, np.int64)])

    def highest(self, values: npt.NDArray[np.float32]) -> ClusterLabels:
        """(count,) of each cluster, the index of the image whose value is the highest."""
        order = np.lexsort((-values, self.labels))
        _, first = np.unique(self.labels[order], return_index=True)
        return np.asarray(order[first], np.int64)


class JoinedImages:
    """Images on the way to clusters: what is joined stays so (union-find)."""

    def __init__(self, count: int) -> None:
        """Begin with nothing joined."""
        self._parents = list(range(count))

    def root(self, index: int) -> int:
        """The image that stands for all that are joined with this one."""
        parents = self._parents
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    def is_joined(self, one: int, other: int) -> bool:
        """Whether two are, if through others."""
        return self.root(one) == self.root(other)

    def join(self, one: int, other: int) -> None:
        """Join two, and all that are joined with them."""
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first

    def clusters(self) -> Clusters:
        """What came of it."""
        return Clusters.numbered([self.root(index) for index in range(len(self._parents))])
