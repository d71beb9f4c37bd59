"""What decides a ProtoAD inspector, and which of it a build may find out by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from calibrate.backbones.tiles import WHOLE, Tiles
from calibrate.images import Roi, Size
from calibrate.protoad.prototypes import PrototypeMethod
from calibrate.protoad.score import Score
from calibrate.protoad.whitening import SHRINKAGE, Metric
from engines.engine import Precision

Tuned: TypeAlias = Literal["metric", "prototypes"]


@dataclass(frozen=True, slots=True)
class Form:
    """How patches are compared, and with how many prototypes.

    Attributes:
        metric: ``whitened`` by the scatter within cells, or the plain ``cosine``.
        shrinkage: of the whitening.
        prototypes: at most how many.
    """

    metric: Metric = "whitened"
    shrinkage: float = SHRINKAGE
    prototypes: int = 4096


@dataclass(frozen=True, slots=True)
class ProtoadOptions:
    """What decides an inspector, beside its images and its backbone.

    Attributes:
        precision: of the graph.
        size: (height, width) in px.
        layers: stages of the backbone.
        tiles: columns and rows that each image is cut into.
        roi: the part of each image that is inspected; None = all of it.
        form: how patches are compared; the one that others must beat, where some of it is tuned.
        tuned: what of the form is chosen by defects drawn into good images.
        method: how prototypes are chosen.
        score: how the map becomes a score.
        seed: of every draw.
        memory_mib: most memory for patches.
    """

    precision: Precision
    size: Size
    layers: tuple[str, ...]
    tiles: Tiles = WHOLE
    roi: Roi | None = None
    form: Form = Form()
    tuned: tuple[Tuned, ...] = ()
    method: PrototypeMethod = "coreset"
    score: Score = "top"
    seed: int = 0
    memory_mib: int = 1024
