"""Parity: what a graph at its built precision does differently from the same graph in fp32.

An inspector ships one threshold, so there is one here too: that of the deployed engine's scores.
The reference is the inspector that a build in fp32 makes of the same images, on ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.metrics import image_auroc
from calibrate.precision.trials import Outputs, Trial, outputs_of, sample
from calibrate.threshold import reaches
from engines.choose import ENGINES
from engines.engine import Engine, Precision
from engines.errors import EngineError
from engines.parity_record import EngineParityRecord, LimitsRecord, ParityRecord, SpreadRecord

REFERENCE = "onnxruntime"
SCORE_ERRORS: dict[Precision, float] = {"fp32": 0.01, "fp16": 0.1, "int8": 0.1}
"""Of the margin, unless the user says otherwise; why these, says docs/precision.md."""
BF16_ENGINES = frozenset({"openvino"})
"""Engines that compute fp16 as bfloat16 on processors that have it, which no GPU does."""
SAMPLE = 48  # images on which an engine that is not deployed is compared
MIN_MARGIN = 1e-6
NAMES_SHOWN = 20
OpenNamed: TypeAlias = Callable[[str, bytes, Precision], Engine]  # engine's name, graph, precision
Spans: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class ParityTerms:
    """What both sides are judged by.

    Attributes:
        precision: of the built graphs.
        threshold: the one that is shipped.
        margin: from the median score of good images up to the threshold; errors are shares of it. A
            share of the threshold would mean something else for each method: distances of good
            parts lie near 0, the probabilities of a network need not.
        limits: what may differ, at most.
        beside: engines that are compared and told of, but need not keep the limits; the last ones.
        sampled: whether engines that are not deployed are compared on `SAMPLE` images.
    """

    precision: Precision
    threshold: float
    margin: float
    limits: LimitsRecord
    beside: frozenset[str] = frozenset()
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What the gate saw, and what it did about it.

    Attributes:
        record: as the manifest keeps it.
        spans: for each engine, of each image the lower and the higher of its score and the
            reference's; for a threshold in between, the verdicts differ.
        beside: engines that need not keep the limits.
    """

    record: ParityRecord
    spans: tuple[Spans, ...] = ()
    beside: frozenset[str] = frozenset()

    @property
    def deciding(self) -> tuple[EngineParityRecord, ...]:
        """What was seen on the engines that have to keep the limits."""
        return tuple(one for one in self.record.engines if one.engine not in self.beside)

    @property
    def problem(self) -> str | None:
        """What is over the limits, in words, or None."""
        return next(filter(None, (self._problem(engine) for engine in self.deciding)), None)

    @property
    def problems_beside(self) -> tuple[str, ...]:
        """What is over the limits on engines that need not keep them."""
        others = (one for one in self.record.engines if one.engine in self.beside)
        return tuple(filter(None, (self._problem(engine) for engine in others)))

    @property
    def worst(self) -> float:
        """The largest change of a good image's score, as a share of the margin."""
        return max((engine.score_error.max for engine in self.deciding), default=0.0)

    def verdicts_hold(self, engines: int | None = None) -> bool:
        """Whether no more verdicts differ than may, and all scores are numbers.

        Args:
            engines: that are asked, from the deployed one on; None asks all that decide.
        """
        most = self.record.limits.flips
        return all(one.flips <= most and not one.not_finite for one in self.deciding[:engines])

    def updated(self, **changes: Any) -> ParityReport:
        """The same with some fields of the record changed."""
        return replace(self, record=self.record.model_copy(update=changes))

    def _problem(self, found: EngineParityRecord) -> str | None:
        record = self.record
        where = f"{record.precision} on {found.engine} ({found.executes})"
        images = record.images_of(found)
        if found.not_finite:
            return f"{where}: {found.not_finite} of {images} scores are no number"
        if found.flips > record.limits.flips:
            named = ", ".join(found.flipped[:3])
            return (
                f"{where}: {found.flips} of {images} verdicts differ from fp32 ({named}), "
                f"{record.limits.flips} may"
            )
        if found.score_error.max > record.limits.score_error:
            return (
                f"{where}: a good image's score is off by {found.score_error.max:.3f} of the "
                f"margin below the threshold, {record.limits.score_error:g} may be"
            )
        return None


class References:
    """Outputs of the fp32 graphs on ONNX Runtime; each graph is run once.

    Args:
        open_engine: opens an engine by its name.
    """

    def __init__(self, open_engine: OpenNamed) -> None:
        self._open = open_engine
        self._found: dict[tuple[bytes, tuple[str, ...]], Outputs] = {}

    def of(self, trial: Trial) -> Outputs:
        """The trial's images through its fp32 graph."""
        key = (trial.fp32, trial.names)
        if key not in self._found:
            with self._open(REFERENCE, trial.fp32, "fp32") as engine:
                self._found[key] = outputs_of(engine, trial.images)
        return self._found[key]


def engines_to_compare(deployed: str, precision: Precision) -> tuple[str, ...]:
    """The engines that can run here, the deployed one first.

    In fp32 it is that one alone, and none where it is the reference itself.
    """
    if precision == "fp32":
        return () if deployed == REFERENCE else (deployed,)
    others = (
        name for name, kind in ENGINES.items() if name != deployed and not kind.unavailable_reason()
    )
    return (deployed, *others)


def engines_beside(engines: Sequence[str], *, gpu: bool) -> frozenset[str]:
    """The compared engines that need not keep the limits: where a GPU inspects, those of bf16.

    Layers kept for their sake would cost the GPU time, and it rounds as the graph says.

    Args:
        engines: that are compared.
        gpu: whether the inspector is for a GPU.
    """
    found = BF16_ENGINES.intersection(engines) if gpu else frozenset()
    return found if len(found) < len(engines) else frozenset()


def compare_with_fp32(
    trials: Sequence[Trial],
    *,
    references: References,
    engines: Sequence[str],
    open_engine: OpenNamed,
    terms: ParityTerms,
) -> ParityReport:
    """Run every engine over every trial and compare.

    Args:
        trials: held-out images, and labelled ones.
        references: remembers the fp32 side.
        engines: names, the deployed one first.
        open_engine: opens an engine by its name.
        terms: what both sides are judged by.

    Raises:
        EngineError: the reference or the deployed engine does not take a graph, or fails.
    """
    fp32 = [references.of(trial) for trial in trials]
    found: list[EngineParityRecord] = []
    spans: list[Spans] = []
    failed: list[str] = []
    everything = list(trials), fp32
    for name in engines:
        whole = name == engines[0] or not terms.sampled
        some, expected = everything if whole else _sampled(trials, fp32, terms.threshold)
        try:
            built, executes = _run_built(name, some, expected, open_engine, terms.precision)
        except EngineError as error:
            if name == engines[0]:
                raise
            failed.append(str(error))
        else:
            spans.append(_spans(expected, built))
            one = _compare(name, executes, some, (expected, built), terms)
            found.append(one if whole else one.model_copy(update={"auroc": None}))
    labels = [trial.defective for trial in trials]
    good, labelled = (
        sum(len(trial.names) for trial in trials if (trial.defective is None) is unlabelled)
        for unlabelled in (True, False)
    )
    record = ParityRecord(
        precision=terms.precision,
        threshold=terms.threshold,
        room=terms.margin,
        limits=terms.limits,
        good=good,
        labelled=labelled,
        auroc=_auroc(fp32, labels),
        engines=tuple(found),
        not_compared=tuple(failed),
    )
    return ParityReport(record, tuple(spans), terms.beside)


def _spans(fp32: Sequence[Outputs], built: Sequence[Outputs]) -> Spans:
    sides = np.stack([np.concatenate([part.scores for part in side]) for side in (fp32, built)])
    sides[1] = np.where(np.isfinite(sides[1]), sides[1], sides[0])  # counted as not finite already
    return tuple(zip(sides.min(axis=0).tolist(), sides.max(axis=0).tolist(), strict=True))


def _sampled(
    trials: Sequence[Trial], fp32: Sequence[Outputs], threshold: float
) -> tuple[list[Trial], list[Outputs]]:
    """Some of the trials' images, and what fp32 gives for them; trials without any are left out."""
    chosen = sample([one.scores for one in fp32], near=threshold, count=SAMPLE)
    used = [index for index, some in enumerate(chosen) if len(some)]
    return (
        [trials[index].of(chosen[index]) for index in used],
        [fp32[index].of(chosen[index]) for index in used],
    )


def _run_built(
    name: str,
    trials: Sequence[Trial],
    fp32: Sequence[Outputs],
    open_engine: OpenNamed,
    precision: Precision,
) -> tuple[list[Outputs], str]:
    """Outputs of the graphs at their precision, and the arithmetic that the engine ran."""
    outputs, executes = [], ""
    for trial, expected in zip(trials, fp32, strict=True):
        with open_engine(name, trial.built, precision) as engine:
            outputs.append(outputs_of(engine, trial.images, expected.mapped))
            executes = engine.executes
    return outputs, executes


def margin_below(threshold: float, held_out: npt.NDArray[np.float32]) -> float:
    """From the median score of good images up to the threshold; never 0."""
    return max(threshold - float(np.median(held_out)), MIN_MARGIN)


def _compare(
    name: str,
    executes: str,
    trials: Sequence[Trial],
    sides: tuple[Sequence[Outputs], Sequence[Outputs]],
    terms: ParityTerms,
) -> EngineParityRecord:
    fp32, built = (np.concatenate([part.scores for part in side]) for side in sides)
    names = [name for trial in trials for name in trial.names]
    defective = np.concatenate([_defective(trial) for trial in trials])
    finite = np.isfinite(built)
    flipped = (reaches(fp32, terms.threshold) != reaches(built, terms.threshold)) | ~finite
    error = np.abs(built.astype(np.float64) - fp32) / terms.margin
    maps = [np.abs(one.maps - other.maps).ravel() for one, other in zip(*sides, strict=True)]
    return EngineParityRecord(
        engine=name,
        executes=executes,
        images=len(names),
        flips=int(flipped.sum()),
        flipped=tuple(names[index] for index in np.flatnonzero(flipped)[:NAMES_SHOWN]),
        not_finite=int((~finite).sum()),
        score_error=_spread(error[finite & ~defective]),
        defect_score_error=_spread(error[finite & defective]) if defective.any() else None,
        map_error=_spread(np.concatenate(maps) / np.float32(terms.margin)),
        auroc=_auroc(sides[1], [trial.defective for trial in trials]),
    )


def _defective(trial: Trial) -> npt.NDArray[np.bool_]:
    return np.zeros(len(trial.names), bool) if trial.defective is None else trial.defective


def _spread(values: npt.NDArray[np.floating]) -> SpreadRecord:
    known = values[np.isfinite(values)]
    if not len(known):
        return SpreadRecord(max=0.0, p99=0.0, mean=0.0)
    p99 = float(np.quantile(known, 0.99))
    return SpreadRecord(max=float(known.max()), p99=p99, mean=float(known.mean()))


def _auroc(
    outputs: Sequence[Outputs], labels: Sequence[npt.NDArray[np.bool_] | None]
) -> float | None:
    scores: list[float] = []
    defects: list[bool] = []
    for part, labelled in zip(outputs, labels, strict=True):
        if labelled is not None:
            finite = np.isfinite(part.scores)
            scores += part.scores[finite].tolist()
            defects += labelled[finite].tolist()
    return image_auroc(scores, defects=defects).value


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
    sides = [np.array(one, np.float32).reshape(-1, 2) for one in spans]
    lows, highs = np.concatenate(sides).T
    of_engine = np.repeat(np.arange(len(sides)), [len(one) for one in sides])
    # A verdict differs where only `high` reaches it: the nearest places are just beside a span.
    beside = (lows, np.nextafter(highs, np.float32(np.inf)))
    places = np.concatenate([*beside, [np.float32(near)]])
    for place in sorted(places.tolist(), key=lambda value: abs(value - near)):
        if abs(place - near) > within:
            return None
        differing = reaches(highs, place) & ~reaches(lows, place)
        if np.bincount(of_engine[differing], minlength=1).max() <= flips:
            return float(place)
    return None
