"""What a method of learning is, whichever it is: images in, a taught inspector out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from calibrate.images import Roi, Size
from calibrate.learnt import LearntInspector, PreparedInspector
from calibrate.node_names import HigherPrecisionNodes
from calibrate.precision.parity import MAX_FLIPS
from calibrate.prn.options import DEFAULT_BATCH, DEFAULT_STEPS, PrnSize
from calibrate.progress import Stages
from calibrate.protoad.graph import Score
from calibrate.protoad.prototypes import PrototypeMethod
from engines.choose import AUTO
from engines.engine import Precision
from engines.manifest import TrainingRecord

ModelName = Literal["protoad", "prn"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may decide; the defaults are those of the command.

    Attributes:
        model: ``protoad`` or ``prn``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        backbone: ``bundled`` or the path of an ONNX file.
        layers: stages of the backbone; empty = those that measured best. ProtoAD only.
        size: (height, width) in px of the model's images.
        roi: (x, y, width, height) in px of the camera's picture; None = all of it.
        prototypes: at most how many; None = 4 096 patches (ProtoAD), or whole feature maps, a
            tenth of the images on each scale (PRN).
        method: ``coreset`` or ``finch``. ProtoAD only.
        score: ``smoothed`` or ``raw``: which map's maximum is the score. ProtoAD only.
        false_rejects: rate of good parts that may be rejected.
        min_area: smallest region that rejects, in px of the camera's picture.
        engine: ``auto`` or the name of one.
        gpu: architectures to compile TensorRT-RTX plans for, one plan each; empty = one portable.
        memory_mib: most memory for patches. ProtoAD only.
        seed: of every draw.
        prn_size: PRN's proportions: ``paper``, or ``compact``, which a CPU can train.
        steps: how many PRN is trained for.
        epochs: in place of steps; None = the steps.
        batch: images a step of the training, half of them with a defect; even.
        defects: folder of real defects with masks, for PRN to learn from; None = none.
        most_defects: at most how many of them; None = all.
        textures: folder of textures for PRN's simulated defects; None = drawn ones.
        max_flips: verdicts that the precision may change, of the images that the gate sees.
        max_score_error: most that it may move a good image's score, as a share of the way from
            good images' median score up to the threshold; None = what is usual at the precision.
    """

    model: ModelName = "protoad"
    precision: Precision = "fp16"
    backbone: str = "bundled"
    layers: tuple[str, ...] = ()
    size: Size = (256, 256)
    roi: Roi | None = None
    prototypes: int | None = None
    method: PrototypeMethod = "coreset"
    score: Score = "smoothed"
    false_rejects: float = 0.001
    min_area: int = 0
    engine: str = AUTO
    gpu: tuple[str, ...] = ()
    memory_mib: int = 1024
    seed: int = 0
    prn_size: PrnSize = "compact"
    steps: int = DEFAULT_STEPS
    epochs: int | None = None
    batch: int = DEFAULT_BATCH
    defects: Path | None = None
    most_defects: int | None = None
    textures: Path | None = None
    max_flips: int = MAX_FLIPS
    max_score_error: float | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How a training went, for the report.

    Attributes:
        losses: of every step.
        validations: (step, pixel AP on synthesised defects or None).
    """

    losses: tuple[float, ...]
    validations: tuple[tuple[int, float | None], ...]


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
        course: of its training.
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
    course: Course | None = None
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

    def learn(self, images: Sequence[Path], stages: Stages) -> Taught:
        """Learn from usable good images, telling `stages` about progress.

        Raises:
            ImagesError, DatasetError, ImageError: images that cannot be used.
            TrainingError: a network cannot be trained here, or not as asked.
            PrecisionError, EngineError: the precision or the engine cannot be had.
        """
