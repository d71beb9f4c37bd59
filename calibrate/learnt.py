"""What both methods give: an inspector that was learnt, and what it takes to make it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.images import ImagesError, Roi, Size, fitted_batches
from calibrate.likeness.clusters import Clusters
from calibrate.node_names import HigherPrecisionNodes
from engines.engine import Engine, Precision
from engines.score_rule import MAXIMUM, ScoreRule

MIN_IMAGES = 5
TRIAL_IMAGES = 64  # good ones, on which an inspector is compared with fp32
OpenEngine: TypeAlias = Callable[[bytes, Precision], Engine]  # the deployed engine on a graph


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutTrial:
    """Two graphs of an inspector, and good images that neither has learnt from.

    Attributes:
        fp32: serialised ONNX in fp32.
        built: at the precision that is deployed.
        images: their files.
    """

    fp32: bytes
    built: bytes
    images: tuple[Path, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FileScores:
    """Scores of good images, one for each different thing that they show.

    Images of one thing are not independent: the highest of their scores stands for all of them.

    Attributes:
        values: (n,) float32.
        files: of which image each is.
    """

    values: npt.NDArray[np.float32]
    files: tuple[Path, ...]

    @classmethod
    def of_clusters(
        cls, values: npt.NDArray[np.float32], files: Sequence[Path], clusters: Clusters
    ) -> FileScores:
        """From the scores of all images."""
        chosen = clusters.highest(values)
        return cls(values[chosen], tuple(files[index] for index in chosen))


NO_SCORES = FileScores(np.empty(0, np.float32), ())


@dataclass(frozen=True, slots=True, eq=False)
class LearntInspector:
    """An inspector at its precision.

    Attributes:
        model: serialised ONNX of the whole inspector.
        prototypes: how many.
        held_out: (n,) float32 scores of good images that it did not learn from, one for each
            different thing that they show.
        held_out_files: theirs, in the same order.
        peaks: (n,) float32, the highest value of their maps.
        score_rule: how its map becomes a score.
        trials: for comparing it with fp32.
        learnt: likewise scores that it gives to the images that it did learn from.
    """

    model: bytes
    prototypes: int
    held_out: npt.NDArray[np.float32]
    held_out_files: tuple[Path, ...]
    peaks: npt.NDArray[np.float32]
    trials: tuple[HeldOutTrial, ...]
    score_rule: ScoreRule = MAXIMUM
    learnt: FileScores = NO_SCORES


class PreparedInspector(Protocol):
    """All of an inspector that does not depend on its precision, learnt once."""

    @property
    def fp32(self) -> bytes:
        """Serialised ONNX of the inspector that a build in fp32 makes."""

    @property
    def quantised(self) -> frozenset[str]:
        """Names of the convolutions that become INT8."""

    def rebuild(self, higher: HigherPrecisionNodes) -> LearntInspector:
        """The inspector at its precision with some nodes above it; nothing else is learnt anew.

        Raises:
            PrecisionError: a name that no node has.
            EngineError: the deployed engine fails.
        """

    def quick_trial(self, higher: HigherPrecisionNodes) -> bytes:
        """The first trial's graph, made quickly: good enough to see which nodes do harm."""


def require_images(images: Sequence[Path], *, good_number: str) -> None:
    """Refuse to learn from next to nothing.

    Raises:
        ImagesError: fewer than `MIN_IMAGES` images.
    """
    if len(images) < MIN_IMAGES:
        raise ImagesError(
            f"{len(images)} usable good images; at least {MIN_IMAGES} are needed, and "
            f"{good_number} make a good inspector"
        )


def scores_from_files(
    engine: Engine, paths: Sequence[Path], *, size: Size, roi: Roi | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(n,) scores that an inspector's engine gives to images, and (n,) maxima of their maps."""
    found, peaks = [], []
    for batch in fitted_batches(paths, size=size, roi=roi):
        maps, scores = engine.infer(batch)
        found.append(np.asarray(scores, np.float32))
        peaks.append(np.asarray(maps.max(axis=(1, 2)), np.float32))
    return np.concatenate(found), np.concatenate(peaks)
