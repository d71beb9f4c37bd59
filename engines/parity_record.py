"""What a manifest says of its precision: what it changed against fp32, and what is kept higher."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.record import MAX_LISTED, Float32, Magnitude, Quantity, Record, Share

Few = Field(max_length=MAX_LISTED)


class SpreadRecord(Record):
    """Of absolute differences."""

    max: Magnitude
    p99: Magnitude
    mean: Magnitude


class LimitsRecord(Record):
    """What the precision might change, at most.

    Attributes:
        flips: verdicts that differ at the threshold.
        score_error: of a good image, as a share of the margin below the threshold.
    """

    flips: Quantity
    score_error: Magnitude


class EngineParityRecord(Record):
    """What one engine did differently from fp32 on ONNX Runtime.

    Attributes:
        engine, executes: its name, and the arithmetic that it ran.
        images: on how many it was compared; None: on all.
        flips: verdicts that differ at the threshold.
        flipped: names of a few of those images.
        not_finite: scores that are no number.
        score_error: of good images, as a share of the margin.
        defect_score_error: of defective images; None without any.
        map_error: of all maps' values, as a share of the margin.
        auroc: on the labelled images; None without both kinds.
    """

    engine: str
    executes: str
    images: Quantity | None = None
    flips: Quantity
    flipped: Annotated[tuple[str, ...], Few] = ()
    not_finite: Quantity = 0
    score_error: SpreadRecord
    defect_score_error: SpreadRecord | None = None
    map_error: SpreadRecord
    auroc: Share | None = None


class KeptRecord(Record):
    """Layers that were left in a higher precision.

    Attributes:
        name: the block's first and last convolution.
        nodes: of the fp32 graph.
        precision: that they compute in.
        cost: share of the graph's multiplications.
        error_removed: share of the scores' error that this block alone stood for.
    """

    name: str
    nodes: tuple[str, ...]
    precision: Literal["fp16", "fp32"]
    cost: Share
    error_removed: Float32


class ParityRecord(Record):
    """What the precision changed, on images that were not learnt from.

    Attributes:
        precision: of the graph.
        threshold: by which both sides were judged.
        room: the margin: from good images' median score up to the threshold; errors are shares of
            it.
        limits: that the build kept.
        good, labelled: how many images were compared.
        auroc: of fp32 on the labelled ones; None without both kinds.
        engines: the deployed one first.
        not_compared: why an engine beside the deployed one could not be, a line each.
        kept: in higher precision, so that the limits are kept.
        before: what was over the limits before that; empty if nothing was.
        seconds: that the comparison took, and the search for what to keep.
    """

    precision: Literal["fp32", "fp16", "int8"]
    threshold: Float32
    room: Float32
    limits: LimitsRecord
    good: Quantity
    labelled: Quantity
    auroc: Share | None = None
    engines: Annotated[tuple[EngineParityRecord, ...], Few]
    not_compared: Annotated[tuple[str, ...], Few] = ()
    kept: Annotated[tuple[KeptRecord, ...], Few] = ()
    before: str = ""
    seconds: Magnitude = 0.0

    def images_of(self, engine: EngineParityRecord) -> int:
        """On how many images an engine was compared."""
        return self.good + self.labelled if engine.images is None else engine.images
