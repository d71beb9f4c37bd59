"""What a bundle says about itself: `manifest.json`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AwareDatetime, Field, NonNegativeInt, model_validator

from engines.bundle_paths import path_problem
from engines.drawn_record import DrawnDefectsRecord
from engines.history_record import MAX_HISTORY, HistoryRecord
from engines.parity_record import ParityRecord
from engines.record import (
    MAX_LISTED,
    Float32,
    Magnitude,
    PositiveQuantity,
    Quantity,
    Record,
    Share,
)
from engines.score_rule import ScoreRule, rule_from_kind
from engines.threshold_records import HeldOutRecord, OperatingPointRecord, ThresholdRecord
from engines.tuning_record import TuningRecord
from process.plain_files import MAX_FILE_BYTES

SCHEMA_VERSION = 1
MAX_CHANGES = 1000  # that are remembered
MAX_SIDE = 1 << 14  # px of the graph's images
MAX_PROTOTYPES = 1 << 24
MAX_BATCH = 64  # images that a plan takes at once

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f/]+$")]
Text = Annotated[str, Field(max_length=1000)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
TilesAlong = Annotated[int, Field(ge=1, le=64)]
Few = Field(max_length=MAX_LISTED)


class FileRecord(Record):
    """SHA-256 and size in bytes of a file in the bundle."""

    sha256: Digest
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]


class RoiRecord(Record):
    """Part of the camera's picture that is inspected, in its pixels."""

    x: Quantity
    y: Quantity
    width: PositiveQuantity
    height: PositiveQuantity

    @classmethod
    def from_box(cls, box: tuple[int, int, int, int]) -> RoiRecord:
        """Of (x, y, width, height)."""
        x, y, width, height = box
        return cls(x=x, y=y, width=width, height=height)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x, y, width, height)."""
        return self.x, self.y, self.width, self.height


SettingValue: TypeAlias = RoiRecord | Quantity | Float32 | Text | None


class BackboneRecord(Record):
    """The network whose features the prototypes were learnt from.

    Attributes:
        name: such as ``resnet18``.
        sha256: of its ONNX file.
        stages: names of all its stages; those in use are the manifest's `layers`.
    """

    name: Line
    sha256: Digest
    stages: Annotated[tuple[Text, ...], Few]


class GoldenImage(Record):
    """An image in the bundle whose score is known: the self-test before the first verdict.

    Attributes:
        file: path inside the bundle, such as ``golden/good.png``.
        score: what the deployed engine gave.
        kind: what it shows.
    """

    file: Text
    score: Float32
    kind: Literal["good", "bad"]


class ImageCounts(Record):
    """How many images the prototypes were learnt from, and how many were left out.

    Attributes:
        used: learnt from.
        skipped: could not be used.
        different: different things that all usable ones show; None in an older bundle.
    """

    used: Quantity
    skipped: Quantity = 0
    different: Quantity | None = None


class TrainingRecord(Record):
    """How a network was trained.

    Attributes:
        size: its proportions: ``paper`` or ``compact``.
        steps, batch: how many, and images in each.
        arithmetic: it was trained in, such as ``bf16``.
        loss: mean of the last steps.
        textures: of the simulated defects: ``drawn``, or the folder's name.
        defects: SHA-256 of the files of real defects that it learnt from: no evaluation may count
            them.
    """

    size: str
    steps: PositiveQuantity
    batch: PositiveQuantity
    arithmetic: str
    loss: Float32
    textures: str
    defects: tuple[Digest, ...] = ()


CellValues: TypeAlias = Annotated[tuple[Float32, ...], Field(max_length=4096)]


class OcclusionRecord(Record):
    """What each cell of a grid over the inspected part looks like, row by row.

    Attributes:
        limit: share of cells that may look otherwise.
        low, high: usual range of a cell's mean grey level.
        typical: grey level of each cell, against which a change of the light is measured.
        detail: usual least mean slope in a cell.
    """

    limit: Share
    low: CellValues
    high: CellValues
    typical: CellValues
    detail: CellValues

    @model_validator(mode="after")
    def _one_grid(self) -> OcclusionRecord:
        cells = len(self.typical)
        if cells == 0 or any(len(part) != cells for part in (self.low, self.high, self.detail)):
            raise ValueError("an occlusion's grids are of different sizes")
        return self


class HealthRecord(Record):
    """What good images look like, so that a camera's faults can be told from pictures of parts.

    Attributes:
        images: that this was learnt from.
        sizes: (height, width) of their files; empty where they are of many sizes.
        black: least brightness of a picture; None = cannot be told on this product.
        white: greatest share of burnt-out pixels; None likewise.
        blurred: least sharpness; None likewise.
        occluded: what may cover how much; None likewise.
        grey: whether all of them are without colour; None where some are, or it is not known.
        caught: share of simulated faults on the good images that the limits catch.
    """

    images: PositiveQuantity
    sizes: Annotated[tuple[tuple[PositiveQuantity, PositiveQuantity], ...], Few] = ()
    black: Magnitude | None = None
    white: Magnitude | None = None
    blurred: Magnitude | None = None
    occluded: OcclusionRecord | None = None
    grey: bool | None = None
    caught: Annotated[dict[Line, Share], Few] = Field(default_factory=dict)


class ChangeRecord(Record):
    """A setting that was changed without building again.

    Attributes:
        changed: when, UTC.
        by: who, such as ``anna@line3``; empty where that is not known.
        setting: which; an ignore mask is told by its file's name.
        old, new: its value before and after; None for no mask, or all of the picture.
    """

    changed: AwareDatetime
    by: Annotated[str, Field(max_length=200)] = ""
    setting: Literal["threshold", "pixel_threshold", "min_area", "ignore", "roi"]
    old: SettingValue
    new: SettingValue


MAX_LEARNT = 100_000
DIGITS = 16  # of a SHA-256 that tell files apart; two of 100 000 agree once in 4 billion bundles
Beginning: TypeAlias = Annotated[str, Field(pattern=f"^[0-9a-f]{{{DIGITS}}}$")]


class Manifest(Record):
    """Everything that is known about a bundle.

    Attributes:
        schema_version: of this record.
        name: of the product or the bundle.
        created: time of the build, UTC.
        protoedge: version that built it.
        model: ``protoad`` or ``prn``.
        precision: that was asked for, and that the graph has.
        deployed_engine: engine whose scores set the threshold.
        executes: arithmetic that it ran, such as ``bf16``.
        size: (height, width) of the graph's images.
        tiles: columns and rows that the graph cuts them into.
        roi: part of the picture that is inspected; None is all of it.
        bit_depth: of the values in 16-bit files of good images; None is all 16.
        backbone: whose features are compared.
        prototypes: how many.
        method: how they were chosen: ``coreset``, ``finch`` or ``k-means``.
        max_batch: images that a plan for a GPU takes at once, at most.
        layers: stages whose features are joined.
        seed: of every random draw.
        score_kind: how the score comes from the map: its maximum, ``smoothed`` or ``raw``; or
            ``top100``, the mean of so many of its highest values; or ``top``, by `score_shares`.
        score_shares: the means of which the highest is the score; None with other kinds.
        threshold: and how it was set.
        held_out: scores that it was set from; None in a bundle that was built without.
        operating_points: thresholds, the lowest first, and what they reject and let pass.
        pixel_threshold: value of the map from which a pixel belongs to a region; None is the
            threshold itself.
        min_area: smallest region that counts, in pixels of the camera's picture.
        ignore: file of the mask that is white where nothing counts; None without one.
        changes: of settings since the build; of very many, the first of each kind and the last.
        history: what was done with the bundles that were in this one's place (`history.py`).
        figures: measured on labelled images, such as ``image_auroc``.
        golden: images with known scores.
        files: every file but this one and those under ``engines``, by path inside the bundle.
        images: how many were learnt from.
        learnt_images: beginning of the SHA-256 of each good image that was learnt from; none in an
            older bundle, or where there are more than `MAX_LEARNT`.
        training: of a network; None where nothing is trained.
        tuning: how metric and number of prototypes were chosen; None where they were given.
        parity: what the precision changed; None where there was nothing to compare.
        drawn_defects: what is found of them; None in a bundle that was built without.
        health: limits of a healthy picture; None in a bundle that was built without.
        seconds: that the build took, without writing the bundle, but with a training that was
            stopped and gone on with; None = not known.
        notes: what a reader must know.
    """

    schema_version: Literal[1] = 1
    name: Line
    created: AwareDatetime
    protoedge: str
    model: Literal["protoad", "prn"]
    precision: Literal["fp32", "fp16", "int8"]
    deployed_engine: str
    executes: str
    size: tuple[Side, Side]
    tiles: tuple[TilesAlong, TilesAlong] = (1, 1)
    roi: RoiRecord | None = None
    bit_depth: Annotated[int, Field(ge=9, le=16)] | None = None
    backbone: BackboneRecord
    prototypes: Annotated[int, Field(ge=1, le=MAX_PROTOTYPES)]
    method: str
    max_batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1
    layers: Annotated[tuple[Text, ...], Few]
    seed: int
    score_kind: str
    score_shares: ScoreRule | None = None
    threshold: ThresholdRecord
    held_out: HeldOutRecord | None = None
    operating_points: Annotated[tuple[OperatingPointRecord, ...], Few] = ()
    pixel_threshold: Float32 | None = None
    min_area: NonNegativeInt = 0
    ignore: str | None = None
    changes: Annotated[tuple[ChangeRecord, ...], Field(max_length=2 * MAX_CHANGES)] = ()
    history: Annotated[tuple[HistoryRecord, ...], Field(max_length=MAX_HISTORY)] = ()
    figures: Annotated[dict[Line, Float32], Few] = Field(default_factory=dict)
    golden: Annotated[tuple[GoldenImage, ...], Few] = ()
    files: Annotated[dict[str, FileRecord], Few] = Field(default_factory=dict)
    images: ImageCounts
    learnt_images: Annotated[tuple[Beginning, ...], Field(max_length=MAX_LEARNT)] = ()
    training: TrainingRecord | None = None
    tuning: TuningRecord | None = None
    parity: ParityRecord | None = None
    drawn_defects: DrawnDefectsRecord | None = None
    health: HealthRecord | None = None
    seconds: Magnitude | None = None
    notes: Annotated[tuple[str, ...], Few] = ()

    @property
    def learnt_files(self) -> frozenset[str]:
        """Beginnings of the SHA-256 of files it learnt from: no evaluation may count them."""
        defects = self.training.defects if self.training else ()
        return frozenset((*self.learnt_images, *(digest[:DIGITS] for digest in defects)))

    @property
    def score_rule(self) -> ScoreRule:
        """How the map becomes a score."""
        return self.score_shares or rule_from_kind(self.score_kind)

    @model_validator(mode="after")
    def _paths_stay_inside(self) -> Manifest:
        for path in self.files:
            problem = path_problem(path)
            if problem:
                raise ValueError(f"file {path!r} {problem}")
        if not self.golden:
            raise ValueError("no golden image, so nothing shows whether an engine computes right")
        for image in self.golden:
            if self.files and image.file not in self.files:
                raise ValueError(f"golden image {image.file!r} is not among the files")
        if self.ignore is not None and self.ignore not in self.files:
            raise ValueError(f"ignore mask {self.ignore!r} is not among the files")
        return self

    @model_validator(mode="after")
    def _score_has_its_shares(self) -> Manifest:
        if self.score_kind == "top" and self.score_shares is None:
            raise ValueError("a score by shares lacks its score_shares")
        if self.score_kind != "top" and self.score_shares is not None:
            raise ValueError(f"a score of kind {self.score_kind!r} has no score_shares")
        values = self.size[0] * self.size[1]
        if self.score_shares is not None and max(self.score_shares.counts) > values:
            raise ValueError(
                f"a score of {max(self.score_shares.counts)} values of a map that has {values}"
            )
        return self
