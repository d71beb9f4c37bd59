"""The gate: what a precision changes stays within the limits, or the build does not ship it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibrate.dataset import Sample
from calibrate.images import Image, evenly, fitted_batches
from calibrate.precision.convert import PrecisionError
from calibrate.precision.parity import (
    REFERENCE,
    Kept,
    References,
    Trial,
    engines_to_compare,
    outputs_of,
    parity,
    room_below,
)
from calibrate.precision.parity_report import SCORE_ERRORS, Limits, ParityReport, agreeing_threshold
from calibrate.precision.sensitivity import (
    Block,
    Ranked,
    a_step_up,
    affordable,
    blocks_of,
    enough,
    kept_of,
    ranked,
    root_mean_square,
)
from calibrate.progress import Stages
from calibrate.threshold import Threshold, moved, threshold_from_scores
from cameras.redaction import shown
from edge.building.gate_images import Labelled, labelled_images
from edge.building.methods import Options, Rework, Taught
from engines.choose import open_engine
from engines.engine import Engine, Precision

RANK_IMAGES = 16  # good ones, on which blocks are told apart
NUDGE = 0.05
"""Of the room: so far the threshold moves before layers are kept; it is not known better than that
(docs/precision.md)."""
LOOSER = "or allow more with --max-flips and --max-score-error"


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """An inspector that may be shipped.

    Attributes:
        taught: as it is shipped; not always the one that was given.
        threshold: of its held-out scores.
        report: what the gate saw; None where there was nothing to compare.
    """

    taught: Taught
    threshold: Threshold
    report: ParityReport | None


def limits_of(options: Options) -> Limits:
    """What the user allows, or what is usual at the precision.

    Raises:
        ValueError: limits that make no sense.
    """
    usual = SCORE_ERRORS[options.precision]
    given = options.max_score_error
    return Limits(options.max_flips, usual if given is None else given)


def threshold_of(taught: Taught, *, false_rejects: float) -> Threshold:
    """The threshold of an inspector's held-out scores."""
    return threshold_from_scores(
        taught.held_out, false_rejects=false_rejects, probabilities=taught.probabilities
    )


def passed(
    taught: Taught,
    *,
    options: Options,
    engine: str,
    labelled: Sequence[Sample],
    stages: Stages,
    say: Callable[[str], None],
) -> Passed:
    """Compare an inspector with fp32; over the limits, keep the layers that matter.

    Args:
        taught: as it was learnt.
        options: precision, limits and all else that the user decided.
        engine: the deployed one.
        labelled: images with labels; may be none.
        stages: told about progress.
        say: receives lines that a user should see.

    Raises:
        PrecisionError: the limits cannot be kept with at most half of the work in higher
            precision.
        EngineError: the deployed engine or the reference fails.
    """
    engines, begun = engines_to_compare(engine, options.precision), time.monotonic()
    threshold = threshold_of(taught, false_rejects=options.false_rejects)
    if not engines or taught.rework is None:
        return Passed(taught, threshold, None)
    learnt = frozenset(taught.training.defects if taught.training else ())
    with stages.stage("parity"):
        known = labelled_images(labelled, options, learnt=learnt)
        gate = _Gate(options, engines, known, stages)
        report = gate.report(taught, threshold)
    for line in report.not_compared:
        say(f"warning: not compared with fp32: {line}")
    found = Passed(taught, threshold, report)
    found = gate.nudged(found) or found
    if found.report and found.report.problem:
        say(f"{found.report.problem}: looking for the layers that matter")
        found = gate.improved(found)
        kept = ", ".join(block.name for block in found.report.kept) if found.report else ""
        say(f"kept in higher precision: {kept or 'nothing'}")
        if found.report and found.report.problem:
            say(f"warning: {found.report.problem}, and keeping more layers does not help enough")
    if found.threshold.moved:
        say(
            f"threshold moved by {found.threshold.moved:+.4f} of the room below it, to where no "
            "verdict differs from fp32"
        )
    seconds = round(time.monotonic() - begun, 3)
    return replace(found, report=replace(found.report, seconds=seconds) if found.report else None)


class _Gate:
    """Compares, ranks and tries again; the fp32 side is run once."""

    def __init__(
        self,
        options: Options,
        engines: Sequence[str],
        labelled: Labelled | None,
        stages: Stages,
    ) -> None:
        self._options = options
        self._engines = engines
        self._labelled = labelled
        self._stages = stages
        self._references = References(_open)
        self._images: dict[tuple[Path, ...], Image] = {}
        self._failed: list[Passed] = []

    def report(self, taught: Taught, threshold: Threshold) -> ParityReport:
        """What every engine does differently from fp32."""
        options = self._options
        empty = ParityReport(
            precision=options.precision,
            threshold=threshold.value,
            room=room_below(threshold.value, taught.held_out),
            limits=limits_of(options),
            good=0,
            labelled=0,
            auroc=None,
            engines=(),
        )
        return parity(
            self._trials(taught),
            references=self._references,
            engines=self._engines,
            open_engine=_open,
            report=empty,
        )

    def nudged(self, found: Passed) -> Passed | None:
        """The same inspector, its threshold moved a little if verdicts are all that differs."""
        if found.report is None or found.report.worst > found.report.limits.score_error:
            return None
        holding = self._moved(found, within=min(NUDGE, limits_of(self._options).score_error))
        if holding is None or holding.report is None or holding.report.problem:
            return None
        return replace(holding, report=replace(holding.report, before=found.report.problem or ""))

    def improved(self, first: Passed) -> Passed:
        """The inspector with as few layers in higher precision as the limits allow.

        A score error that the user has not limited is a goal: where it cannot be reached, the
        inspector stays as it was if all verdicts hold, for kept layers cost time; else it is the
        nearest whose verdicts hold, or hold once the threshold is moved a little.

        Raises:
            PrecisionError: none such.
        """
        rework, before = first.taught.rework, first.report
        if rework is None or before is None:
            raise PrecisionError("nothing to compare with fp32; build with --precision fp32")
        for blocks in _levels(self._options.precision, rework):
            with self._stages.stage("sensitivity") as advance:
                error_of = self._error_of(rework, room=before.room)
                order = affordable(ranked(blocks, error_of=error_of, progress=advance))
                count = enough(order, error_of=error_of, share=_share_wanted(before))
            found = self._first_that_passes(rework, order, count=count)
            if found is not None and found.report is not None:
                report = replace(found.report, before=before.problem or "")
                return replace(found, report=report)
        shipped = self._nearly([first, *self._failed])
        if shipped is not None and shipped.report is not None:
            report = replace(shipped.report, before=before.problem or "")
            return replace(shipped, report=report)
        higher = "fp32" if self._options.precision == "fp16" else "fp16"
        raise PrecisionError(
            f"{before.problem}, also with half of the work in higher precision; build with "
            f"--precision {higher}, {LOOSER}"
        )

    def _nearly(self, known: Sequence[Passed]) -> Passed | None:
        """The first whose verdicts hold, or can be made to, if its score errors are allowed.

        On every engine if it can be had, else on the deployed one; the report tells of the others.
        """
        hard = self._options.max_score_error
        order = [known[0], *sorted(known[1:], key=_worst)]
        allowed = [one for one in order if hard is None or _worst(one) <= hard]
        far = limits_of(self._options).score_error
        for engines in (None, 1):
            for one in allowed:
                if one.report is not None and one.report.verdicts_hold(engines):
                    return one
            tried = (self._moved(one, within=far, engines=engines) for one in allowed[:2])
            found = next(filter(None, tried), None)
            if found is not None:
                return found
        return None

    def _moved(self, found: Passed, *, within: float, engines: int | None = None) -> Passed | None:
        """The same inspector with its threshold where no verdict differs.

        Args:
            found: the inspector.
            within: share of the room that the threshold may move by.
            engines: that have to agree with fp32, from the deployed one on; None asks all.
        """
        seen = found.report
        if seen is None or any(one.not_finite for one in seen.engines[:engines]):
            return None
        if seen.verdicts_hold(engines):
            return found
        value = agreeing_threshold(
            seen.spans[:engines],
            flips=seen.limits.flips,
            near=found.threshold.value,
            within=within * seen.room,
        )
        if value is None:
            return None
        scores = found.taught.held_out
        threshold = moved(found.threshold, value, scores=scores, room=seen.room)
        with self._stages.stage("parity"):
            report = replace(self.report(found.taught, threshold), kept=seen.kept)
        return replace(found, threshold=threshold, report=report)

    def _first_that_passes(
        self, rework: Rework, order: Sequence[Ranked], *, count: int
    ) -> Passed | None:
        """Keep so many blocks, then all; each attempt is measured in full."""
        counts = sorted({min(count, len(order)), len(order)})
        attempts = (self._tried(rework, order[:n]) for n in counts if n)
        return next(filter(None, attempts), None)

    def _tried(self, rework: Rework, chosen: Sequence[Ranked]) -> Passed | None:
        """The inspector with these blocks kept, if it is within the limits."""
        taught = rework.again(kept_of(chosen))
        threshold = threshold_of(taught, false_rejects=self._options.false_rejects)
        with self._stages.stage("parity"):
            report = self.report(taught, threshold)
        report = replace(report, kept=tuple(entry.record for entry in chosen))
        found = Passed(taught, threshold, report)
        passes = self.nudged(found)
        if passes is None:
            self._failed.append(found)
        return passes

    def _error_of(self, rework: Rework, *, room: float) -> Callable[[Kept], float]:
        """Root of the mean square of good images' score errors, on the deployed engine."""
        held_out = rework.trials[0]
        images = self._stack(tuple(evenly(held_out.images, RANK_IMAGES)))
        with _open(REFERENCE, held_out.exact, "fp32") as engine:
            exact = outputs_of(engine, images).scores

        def error_of(kept: Kept) -> float:
            model = rework.trial(kept)
            with _open(self._engines[0], model, self._options.precision) as engine:
                scores = outputs_of(engine, images).scores
            return root_mean_square((scores - exact) / np.float32(room))

        return error_of

    def _trials(self, taught: Taught) -> list[Trial]:
        rework = taught.rework
        if rework is None:
            return []
        found = [
            Trial(
                exact=each.exact,
                built=each.built,
                images=self._stack(each.images),
                names=tuple(shown(path.name) for path in each.images),
            )
            for each in rework.trials
        ]
        if self._labelled is not None:
            some = self._labelled
            found.append(Trial(rework.exact, taught.model, some.images, some.names, some.defective))
        return found

    def _stack(self, paths: tuple[Path, ...]) -> Image:
        if paths not in self._images:
            size, roi = self._options.size, self._options.roi
            self._images[paths] = np.concatenate(list(fitted_batches(paths, size=size, roi=roi)))
        return self._images[paths]


def _share_wanted(report: ParityReport) -> float:
    """What may remain of the error: as much as the limit allows, half where a verdict flipped."""
    worst = report.worst
    return 0.5 if worst <= report.limits.score_error else report.limits.score_error / worst


def _worst(found: Passed) -> float:
    return found.report.worst if found.report else 0.0


def _levels(precision: Precision, rework: Rework) -> tuple[tuple[Block, ...], ...]:
    """What can be kept: in int8 graphs first in the next higher precision, then in fp32."""
    blocks = blocks_of(rework.exact)
    if precision == "int8":
        return (a_step_up(blocks, rework.quantised), blocks)
    return (blocks,) if precision == "fp16" else ()


def _open(name: str, model: bytes, precision: Precision) -> Engine:
    return open_engine(model, engine=name, precision=precision)
