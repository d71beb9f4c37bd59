"""The gate: what a precision changes stays within the limits, or the build does not ship it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.dataset import GOOD, Sample
from calibrate.images import Image, evenly, fit_image, fitted_batches
from calibrate.node_names import HigherPrecisionNodes
from calibrate.precision.int8 import PrecisionError
from calibrate.precision.parity import (
    REFERENCE,
    SCORE_ERRORS,
    OpenNamed,
    ParityReport,
    ParityTerms,
    References,
    agreeing_threshold,
    compare_with_fp32,
    engines_beside,
    engines_to_compare,
    margin_below,
)
from calibrate.precision.sensitivity import (
    Block,
    RankedBlock,
    blocks_needed,
    blocks_of,
    nodes_of_blocks,
    rank_blocks,
    root_mean_square,
    to_next_precision,
    within_work_budget,
)
from calibrate.precision.trials import Trial, outputs_of
from calibrate.progress import Stages
from calibrate.threshold import Threshold, move_threshold
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from cameras.redaction import printable_path
from edge.building.methods import Taught
from edge.building.thresholds import threshold_of_scores
from edge.checking.model_size import SizedBuildOptions
from edge.evaluation.measure import file_sha256
from edge.options import BuildOptions
from engines.parity_record import LimitsRecord
from engines.plans.flavours import MODULES

RANK_IMAGES = 16  # good ones, on which blocks are told apart
# Of the margin: so far the threshold moves before layers are kept (docs/precision.md).
NUDGE = 0.05
LOOSER = "or allow more with --max-flips and --max-score-error"
MAX_LABELLED = 1024  # images
MAX_LABELLED_BYTES = 256 << 20  # of them, at the model's size


@dataclass(frozen=True, slots=True, eq=False)
class GateResult:
    """An inspector that has been compared with fp32.

    Attributes:
        taught: as it would be shipped; not always the one that was given.
        threshold: of its held-out scores.
        report: what the gate saw; None where there was nothing to compare.
    """

    taught: Taught
    threshold: Threshold
    report: ParityReport | None

    @property
    def worst(self) -> float:
        """The largest change of a good image's score, as a share of the margin."""
        return self.report.worst if self.report else 0.0


def limits_from_options(options: BuildOptions) -> LimitsRecord:
    """What the user allows, or what is usual at the precision."""
    usual, given = SCORE_ERRORS[options.precision], options.max_score_error
    return LimitsRecord(flips=options.max_flips, score_error=usual if given is None else given)


def apply_precision_gate(
    taught: Taught,
    *,
    options: SizedBuildOptions,
    engine: str,
    open_engine: OpenNamed,
    labelled: Sequence[Sample],
    stages: Stages,
    say: Callable[[str], None],
) -> GateResult:
    """Compare an inspector with fp32; over the limits, keep its sensitive layers above it.

    Args:
        taught: as it was learnt.
        options: precision, limits and all else that the user decided.
        engine: the deployed one.
        open_engine: opens an engine by its name.
        labelled: images with labels; may be none.
        stages: told about progress.
        say: receives lines that a user should see.

    Raises:
        PrecisionError: the limits cannot be kept with at most half of the work in higher
            precision.
        EngineError: the deployed engine or the reference fails.
    """
    engines, begun = engines_to_compare(engine, options.precision), time.monotonic()
    beside = engines_beside(engines, gpu=bool(options.gpu) or engine in MODULES)
    threshold = threshold_of_scores(taught, options)
    if not engines:
        return GateResult(taught, threshold, None)
    with stages.stage("parity"):
        known = _read_labelled(labelled, options, learnt=taught.learnt_files)
        gate = _PrecisionGate(
            options, engines, known, stages, beside=beside, open_engine=open_engine
        )
        report = gate.compare(taught, threshold)
    for line in report.record.not_compared:
        say(f"warning: not compared with fp32: {line}")
    first = GateResult(taught, threshold, report)
    found = gate.nudge_threshold(first) or first
    if found.report and found.report.problem:
        say(f"{found.report.problem}: searching for precision-sensitive layers")
        found = gate.keep_sensitive_layers(found)
        _tell_kept(found, say=say)
    if found.threshold.moved:
        say(
            f"threshold moved by {found.threshold.moved:+.4f} of the margin below it, to where no "
            "verdict differs from fp32"
        )
    for line in found.report.problems_beside if found.report else ():
        say(f"warning: {line}; no layer is kept for it, since a GPU is to inspect")
    seconds = round(time.monotonic() - begun, 3)
    return replace(found, report=found.report.updated(seconds=seconds) if found.report else None)


def _tell_kept(found: GateResult, *, say: Callable[[str], None]) -> None:
    report = found.report
    kept = ", ".join(block.name for block in report.record.kept) if report else ""
    say(f"kept in higher precision: {kept or 'nothing'}")
    if report and report.problem:
        say(f"warning: {report.problem}, and keeping more layers does not help enough")


@dataclass(frozen=True, slots=True, eq=False)
class _LabelledImages:
    """Labelled images, (n, H, W, 3), with their names and which of them show a defect."""

    images: Image
    names: tuple[str, ...]
    defective: npt.NDArray[np.bool_]


def _read_labelled(
    samples: Sequence[Sample], options: SizedBuildOptions, *, learnt: frozenset[str]
) -> _LabelledImages | None:
    """All labelled images, evenly some where they are very many; None if there are none.

    None of the files in `learnt`, by their SHA-256. What cannot be read is left out as well; the
    measurement of all labelled images names it.
    """
    height, width = options.size
    most = min(MAX_LABELLED, MAX_LABELLED_BYTES // (height * width * 3))
    chosen, images = [], []
    for sample in evenly(samples, most):
        if learnt and file_sha256(sample.path) in learnt:
            continue
        try:
            images.append(fit_image(image_from_file(sample.path), options.size, options.roi))
        except ImageError:
            continue
        chosen.append(sample)
    if not chosen:
        return None
    names = tuple(printable_path(Path(sample.defect, sample.path.name)) for sample in chosen)
    defective = np.array([sample.defect != GOOD for sample in chosen], bool)
    return _LabelledImages(np.stack(images), names, defective)


class _PrecisionGate:
    """Compares, ranks and tries again; the fp32 side is run once."""

    def __init__(
        self,
        options: SizedBuildOptions,
        engines: Sequence[str],
        labelled: _LabelledImages | None,
        stages: Stages,
        *,
        beside: frozenset[str],
        open_engine: OpenNamed,
    ) -> None:
        self._options = options
        self._engines = sorted(engines, key=beside.__contains__)
        self._beside = beside
        self._labelled = labelled
        self._stages = stages
        self._limits = limits_from_options(options)
        self._open_engine = open_engine
        self._references = References(open_engine)
        self._images: dict[tuple[Path, ...], Image] = {}
        self._failed: list[GateResult] = []

    def compare(self, taught: Taught, threshold: Threshold) -> ParityReport:
        """What every engine does differently from fp32."""
        terms = ParityTerms(
            precision=self._options.precision,
            threshold=threshold.value,
            margin=margin_below(threshold.value, taught.inspector.held_out),
            limits=self._limits,
            beside=self._beside,
            sampled=not self._options.compare_all,
        )
        return compare_with_fp32(
            self._trials(taught),
            references=self._references,
            engines=self._engines,
            open_engine=self._open_engine,
            terms=terms,
        )

    def nudge_threshold(self, found: GateResult) -> GateResult | None:
        """The inspector if it is within the limits, or once its threshold has moved a little.

        None if neither helps: something else than verdicts differs too much.
        """
        report = found.report
        if report is None or report.worst > self._limits.score_error:
            return None
        within = min(NUDGE, self._limits.score_error)
        holding = self._move_threshold(found, within=within)
        if holding is None or holding.report is None or holding.report.problem:
            return None
        return replace(holding, report=holding.report.updated(before=report.problem or ""))

    def keep_sensitive_layers(self, first: GateResult) -> GateResult:
        """The inspector with as few layers in higher precision as the limits allow.

        A score error that the user has not limited is a goal: where it cannot be reached, the
        inspector stays as it was if all verdicts hold, for kept layers cost time; else it is the
        nearest whose verdicts hold, or hold once the threshold is moved a little.

        Raises:
            PrecisionError: none such.
        """
        before = first.report
        if before is None:
            raise PrecisionError("nothing to compare with fp32; build with --precision fp32")
        problem = before.problem or ""
        for blocks in self._choices_of_blocks(first.taught):
            found = self._keep_some(first.taught, blocks, before)
            if found is not None and found.report is not None:
                return replace(found, report=found.report.updated(before=problem))
        shipped = self._find_acceptable([first, *self._failed])
        if shipped is not None and shipped.report is not None:
            return replace(shipped, report=shipped.report.updated(before=problem))
        higher = "fp32" if self._options.precision == "fp16" else "fp16"
        raise PrecisionError(
            f"{before.problem}, also with half of the work in higher precision; build with "
            f"--precision {higher}, {LOOSER}"
        )

    def _choices_of_blocks(self, taught: Taught) -> tuple[tuple[Block, ...], ...]:
        """What can be kept: in int8 graphs first in the next higher precision, then in fp32."""
        blocks = blocks_of(taught.prepared.fp32)
        if self._options.precision == "int8":
            return (to_next_precision(blocks, taught.prepared.quantised), blocks)
        return (blocks,) if self._options.precision == "fp16" else ()

    def _keep_some(
        self, taught: Taught, blocks: Sequence[Block], before: ParityReport
    ) -> GateResult | None:
        """Rank the blocks, keep as many as seem needed, then all that may be kept."""
        with self._stages.stage("sensitivity") as advance:
            error_of = self._error_of(taught, margin=before.record.room)
            ranked = rank_blocks(blocks, error_of=error_of, progress=advance)
            order = within_work_budget(ranked)
            worst, limit = before.worst, before.record.limits.score_error
            share = 0.5 if worst <= limit else limit / worst  # half where a verdict flipped
            count = blocks_needed(order, error_of=error_of, share=share)
        return self._first_that_passes(taught, order, count=count)

    def _first_that_passes(
        self, taught: Taught, order: Sequence[RankedBlock], *, count: int
    ) -> GateResult | None:
        """Keep so many blocks, then all; each attempt is measured in full."""
        counts = sorted({min(count, len(order)), len(order)})
        attempts = (self._try_blocks(taught, order[:n]) for n in counts if n)
        return next(filter(None, attempts), None)

    def _try_blocks(self, taught: Taught, chosen: Sequence[RankedBlock]) -> GateResult | None:
        """The inspector with these blocks kept, if it is within the limits."""
        rebuilt = taught.rebuild(nodes_of_blocks(chosen))
        threshold = threshold_of_scores(rebuilt, self._options)
        with self._stages.stage("parity"):
            report = self.compare(rebuilt, threshold)
        report = report.updated(kept=tuple(entry.record for entry in chosen))
        found = GateResult(rebuilt, threshold, report)
        passes = self.nudge_threshold(found)
        if passes is None:
            self._failed.append(found)
        return passes

    def _find_acceptable(self, known: Sequence[GateResult]) -> GateResult | None:
        """The first whose verdicts hold, or can be made to, if its score errors are allowed.

        On every engine if it can be had, else on the deployed one; the report tells of the others.
        """
        hard = self._options.max_score_error
        order = [known[0], *sorted(known[1:], key=lambda one: one.worst)]
        allowed = [one for one in order if hard is None or one.worst <= hard]
        for engines in (None, 1):
            for one in allowed:
                if one.report is not None and one.report.verdicts_hold(engines):
                    return one
            far = self._limits.score_error
            tried = (self._move_threshold(one, within=far, engines=engines) for one in allowed[:2])
            found = next(filter(None, tried), None)
            if found is not None:
                return found
        return None

    def _move_threshold(
        self, found: GateResult, *, within: float, engines: int | None = None
    ) -> GateResult | None:
        """The same inspector with its threshold where no verdict differs.

        Args:
            found: the inspector.
            within: share of the margin that the threshold may move by.
            engines: that have to agree with fp32, from the deployed one on; None asks all.
        """
        report = found.report
        if report is None or any(one.not_finite for one in report.deciding[:engines]):
            return None
        if report.verdicts_hold(engines):
            return found
        margin, scores = report.record.room, found.taught.inspector.held_out
        value = agreeing_threshold(
            report.spans[: engines or len(report.deciding)],
            flips=self._limits.flips,
            near=found.threshold.value,
            within=within * margin,
        )
        if value is None:
            return None
        threshold = move_threshold(found.threshold, value, scores=scores, margin=margin)
        with self._stages.stage("parity"):
            again = self.compare(found.taught, threshold).updated(kept=report.record.kept)
        return replace(found, threshold=threshold, report=again)

    def _error_of(
        self, taught: Taught, *, margin: float
    ) -> Callable[[HigherPrecisionNodes], float]:
        """Root of the mean square of good images' score errors, on the deployed engine."""
        deployed = self._engines[0]
        # For a GPU each try would be compiled: there in the graph's own arithmetic.
        ranking = REFERENCE if deployed in MODULES else deployed
        trial = taught.inspector.trials[0]
        images = self._stack(tuple(evenly(trial.images, RANK_IMAGES)))
        with self._open_engine(REFERENCE, trial.fp32, "fp32") as engine:
            fp32 = outputs_of(engine, images).scores

        def error_of(higher: HigherPrecisionNodes) -> float:
            model = taught.prepared.quick_trial(higher)
            with self._open_engine(ranking, model, self._options.precision) as engine:
                scores = outputs_of(engine, images).scores
            return root_mean_square((scores - fp32) / np.float32(margin))

        return error_of

    def _trials(self, taught: Taught) -> list[Trial]:
        found = [
            Trial(
                fp32=each.fp32,
                built=each.built,
                images=self._stack(each.images),
                names=tuple(printable_path(path.name) for path in each.images),
            )
            for each in taught.inspector.trials
        ]
        if self._labelled is not None:
            some, fp32, built = self._labelled, taught.prepared.fp32, taught.inspector.model
            found.append(Trial(fp32, built, some.images, some.names, some.defective))
        return found

    def _stack(self, paths: tuple[Path, ...]) -> Image:
        if paths not in self._images:
            size, roi = self._options.size, self._options.roi
            self._images[paths] = np.concatenate(list(fitted_batches(paths, size=size, roi=roi)))
        return self._images[paths]
