"""What a method of learning is, whichever it is: images in, a taught inspector out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from calibrate.learnt import LearntInspector, PreparedInspector
from calibrate.likeness.clusters import Clusters
from calibrate.node_names import HigherPrecisionNodes
from calibrate.progress import Stages
from edge.drawing.report import Curve
from engines.manifest import TrainingRecord
from engines.tuning_record import TuningRecord


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """An inspector that was learnt, and what there is to record of it.

    Attributes:
        inspector: at its precision.
        prepared: from which it can be made again.
        images: how many good images it learnt from.
        layers: stages of the backbone that are compared.
        method: how the prototypes were chosen.
        score_kind: how the map becomes a score.
        how_held_out: in a word or two, for the record.
        probabilities: whether scores end at 1.
        training: of a network.
        tuning: how the form was chosen, if it was.
        curve: of its training, for the report.
        earlier: seconds that a training took before it was stopped, and gone on with here.
    """

    inspector: LearntInspector
    prepared: PreparedInspector
    images: int
    layers: tuple[str, ...]
    method: str
    score_kind: str
    how_held_out: str
    probabilities: bool = False
    training: TrainingRecord | None = None
    tuning: TuningRecord | None = None
    curve: Curve | None = None
    earlier: float = 0.0

    @property
    def learnt_files(self) -> frozenset[str]:
        """SHA-256 of the labelled files that it learnt from."""
        return frozenset(self.training.defects if self.training else ())

    def rebuild(self, higher: HigherPrecisionNodes) -> Taught:
        """The same with some nodes above its precision."""
        return replace(self, inspector=self.prepared.rebuild(higher))


class LearningMethod(Protocol):
    """Learns an inspector; what cannot be is refused before, when the method is made."""

    def learn(self, images: Sequence[Path], clusters: Clusters, stages: Stages) -> Taught:
        """Learn from usable good images, telling `stages` about progress.

        Those of one cluster show one thing: they are held out together, and counted once.

        Raises:
            ImagesError, DatasetError, ImageError: images that cannot be used.
            TrainingError: a network cannot be trained here, or not as asked.
            PrecisionError, EngineError: the precision or the engine cannot be had.
        """
