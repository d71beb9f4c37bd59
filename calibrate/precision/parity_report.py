"""What the parity gate saw: limits, errors, flips, and what was done about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from engines.engine import Precision

MAX_FLIPS = 0
SCORE_ERRORS: dict[Precision, float] = {"fp32": 0.01, "fp16": 0.1, "int8": 0.1}
"""Of the room, unless the user says otherwise; why these, says docs/precision.md."""
Spans: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a build may change, at most.

    Attributes:
        flips: verdicts that differ at the threshold.
        score_error: largest change of a good image's score, as a share of the room: the way from
            the median score of good images up to the threshold. A share of the threshold would
            mean something else for each method: distances of good parts lie near 0, the
            probabilities of a network need not.
    """

    flips: int
    score_error: float

    def __post_init__(self) -> None:
        if self.flips < 0 or not 0 < self.score_error < math.inf:
            raise ValueError(
                f"limits of {self.flips} flips and a score error of {self.score_error}: give "
                "--max-flips from 0 on and --max-score-error above 0"
            )


@dataclass(frozen=True, slots=True)
class Spread:
    """Of absolute differences."""

    max: float
    p99: float
    mean: float


@dataclass(frozen=True, slots=True)
class EngineParity:
    """How one engine differs from the reference.

    Attributes:
        engine: its name.
        executes: the arithmetic that it ran.
        flips: verdicts that differ at the threshold, over all images.
        flipped: names of a few of those images.
        not_finite: scores that are no number.
        score_error: of good images' scores, as a share of the room.
        defect_score_error: of defective images' scores; None without any. Not limited: where a
            score is far above the threshold its change means nothing.
        map_error: of all maps' values, as a share of the room.
        auroc: of the labelled images' scores; None without both kinds.
    """

    engine: str
    executes: str
    flips: int
    flipped: tuple[str, ...]
    not_finite: int
    score_error: Spread
    defect_score_error: Spread | None
    map_error: Spread
    auroc: float | None


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """Layers that the build left in a higher precision.

    Attributes:
        name: of the block: its first and its last convolution.
        nodes: of the fp32 graph.
        precision: that they compute in.
        cost: share of the graph's multiplications.
        error_removed: share of the scores' error (root of the mean square) that went away when
            this block alone was kept.
    """

    name: str
    nodes: tuple[str, ...]
    precision: Precision
    cost: float
    error_removed: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What the gate saw, and what it did about it.

    Attributes:
        precision: that was asked for.
        threshold: the one that is shipped; both sides are judged by it.
        room: from the median score of good images up to the threshold; errors are shares of it.
        limits: that were kept.
        good: held-out good images that were compared.
        labelled: labelled images.
        auroc: of the reference on the labelled ones; None without both kinds.
        engines: one entry each, the deployed one first.
        not_compared: why an engine beside the deployed one could not be, a line each.
        kept: in higher precision.
        before: what was over the limits when nothing was kept; empty if nothing was.
        seconds: that the gate took, with its search.
        spans: for each engine, of each image the lower and the higher of its score and the
            reference's; for a threshold in between, the verdicts differ.
    """

    precision: Precision
    threshold: float
    room: float
    limits: Limits
    good: int
    labelled: int
    auroc: float | None
    engines: tuple[EngineParity, ...]
    not_compared: tuple[str, ...] = ()
    kept: tuple[KeptBlock, ...] = ()
    before: str = ""
    seconds: float = 0.0
    spans: tuple[Spans, ...] = ()

    @property
    def problem(self) -> str | None:
        """What is over the limits, in words, or None."""
        return next(filter(None, (self._problem(engine) for engine in self.engines)), None)

    @property
    def worst(self) -> float:
        """The largest change of a good image's score on any engine, as a share of the room."""
        return max((engine.score_error.max for engine in self.engines), default=0.0)

    def verdicts_hold(self, engines: int | None = None) -> bool:
        """Whether no more verdicts differ than may, and all scores are numbers.

        Args:
            engines: that are asked, from the deployed one on; None asks all.
        """
        most = self.limits.flips
        return all(one.flips <= most and not one.not_finite for one in self.engines[:engines])

    def _problem(self, found: EngineParity) -> str | None:
        where = f"{self.precision} on {found.engine} ({found.executes})"
        images = self.good + self.labelled
        if found.not_finite:
            return f"{where}: {found.not_finite} of {images} scores are no number"
        if found.flips > self.limits.flips:
            named = ", ".join(found.flipped[:3])
            return (
                f"{where}: {found.flips} of {images} verdicts differ from fp32 ({named}), "
                f"{self.limits.flips} may"
            )
        if found.score_error.max > self.limits.score_error:
            return (
                f"{where}: a good image's score is off by {found.score_error.max:.3f} of the room "
                f"below the threshold, {self.limits.score_error:g} may be"
            )
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain values; the manifest keeps the same object."""
        found = asdict(self)
        found["engines"] = [asdict(engine) for engine in self.engines]
        found["kept"] = [asdict(block) for block in self.kept]
        del found["spans"]
        return found


def agreeing_threshold(
    spans: Sequence[Spans], *, flips: int, near: float, within: float
) -> float | None:
    """The nearest threshold at which no more verdicts differ than may.

    A threshold is an estimate: within what the scores may be off, one is as good as another.

    Args:
        spans: of the engines that have to agree, at least one.
        flips: verdicts that may differ on each.
        near: where to look.
        within: so far away at most.

    Returns:
        The threshold, exactly a float32; None if there is none.
    """
    lows, highs = np.array(spans, np.float32).reshape(len(spans), -1, 2).transpose(2, 0, 1)
    # A verdict differs where low < threshold <= high: the nearest places are just beside a span.
    beside = (lows.ravel(), np.nextafter(highs, np.float32(np.inf)).ravel())
    places = np.concatenate([*beside, [np.float32(near)]])
    for place in sorted(places.tolist(), key=lambda value: abs(value - near)):
        if abs(place - near) > within:
            return None
        if ((lows < place) & (place <= highs)).sum(axis=1).max() <= flips:
            return float(place)
    return None
