"""The gate: what a precision changes stays within the limits, or the build does not ship it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibrate.dataset import GOOD, Sample
from calibrate.images import Image, evenly, fit_image, fitted_batches
from calibrate.parity import (
    GATE_IMAGES,
    Kept,
    Limits,
    ParityReport,
    References,
    Trial,
    engines_to_compare,
    outputs_of,
    parity,
    room_below,
)
from calibrate.precision import PrecisionError
from calibrate.sensitivity import (
    Ranked,
    affordable,
    blocks_of,
    kept_of,
    ranked,
    root_mean_square,
)
from calibrate.stages import Stages
from calibrate.threshold import Threshold, threshold_from_scores
from cameras.decode import image_from_file
from cameras.errors import ImageError
from cameras.names import shown
from edge.measure import file_sha256
from edge.methods import Options, Rework, Taught
from engines.choose import open_engine
from engines.engine import Engine, Precision

RANK_IMAGES = 16  # good ones, on which blocks are told apart
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
        EngineError: an engine fails.
    """
    engines, begun = engines_to_compare(engine, options.precision), time.monotonic()
    threshold = threshold_of(taught, false_rejects=options.false_rejects)
    if not engines or taught.rework is None:
        return Passed(taught, threshold, None)
    gate = _Gate(options, engines, _labelled(labelled, options, taught), stages)
    with stages.stage("parity"):
        report = gate.report(taught, threshold)
    found = Passed(taught, threshold, report)
    if report.problem:
        say(f"{report.problem}: looking for the layers that matter")
        found = gate.improved(found)
        kept = ", ".join(block.name for block in found.report.kept) if found.report else ""
        say(f"kept in higher precision: {kept}")
    seconds = round(time.monotonic() - begun, 3)
    return replace(found, report=replace(found.report, seconds=seconds) if found.report else None)


@dataclass(frozen=True, slots=True, eq=False)
class _Labelled:
    """Labelled images, read."""

    images: Image
    names: tuple[str, ...]
    defective: tuple[bool, ...]


class _Gate:
    """Compares, ranks and tries again; the fp32 side is run once."""

    def __init__(
        self,
        options: Options,
        engines: Sequence[str],
        labelled: _Labelled | None,
        stages: Stages,
    ) -> None:
        self._options = options
        self._engines = engines
        self._labelled = labelled
        self._stages = stages
        self._references = References(_open)
        self._images: dict[tuple[Path, ...], Image] = {}

    def report(self, taught: Taught, threshold: Threshold) -> ParityReport:
        """What every engine does differently from fp32."""
        options = self._options
        empty = ParityReport(
            precision=options.precision,
            threshold=threshold.value,
            room=room_below(threshold.value, taught.held_out),
            limits=Limits(options.max_flips, options.max_score_error),
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

    def improved(self, first: Passed) -> Passed:
        """The inspector with as few layers in higher precision as the limits allow.

        Raises:
            PrecisionError: none such.
        """
        rework, before = first.taught.rework, first.report
        if rework is None or before is None:
            raise PrecisionError("nothing to compare with fp32; build with --precision fp32")
        for level, only in _levels(self._options.precision, rework):
            with self._stages.stage("sensitivity") as advance:
                error_of = self._error_of(rework, room=before.room)
                blocks = blocks_of(rework.exact, only=only)
                order = ranked(blocks, precision=level, error_of=error_of, progress=advance)
            found = self._smallest(rework, affordable(order), level=level)
            if found is not None and found.report is not None:
                report = replace(found.report, before=before.problem or "")
                return replace(found, report=report)
        higher = "fp32" if self._options.precision == "fp16" else "fp16"
        raise PrecisionError(
            f"{before.problem}, also with half of the work in higher precision; build with "
            f"--precision {higher}, {LOOSER}"
        )

    def _smallest(
        self, rework: Rework, order: Sequence[Ranked], *, level: Precision
    ) -> Passed | None:
        """Halve the interval between what fails and what passes; each is measured in full."""
        failing, passing, found = 0, len(order), None
        count = passing
        while passing - failing > 1 or (found is None and count):
            tried = self._tried(rework, order[:count], level=level)
            if tried is None and found is None:
                return None  # not even with all of them
            found, passing, failing = (tried, count, failing) if tried else (found, passing, count)
            count = (failing + passing) // 2
        return found

    def _tried(
        self, rework: Rework, chosen: Sequence[Ranked], *, level: Precision
    ) -> Passed | None:
        """The inspector with these blocks kept, if it is within the limits."""
        taught = rework.again(kept_of(chosen, level))
        threshold = threshold_of(taught, false_rejects=self._options.false_rejects)
        with self._stages.stage("parity"):
            report = self.report(taught, threshold)
        if report.problem:
            return None
        kept = tuple(entry.record(level) for entry in chosen)
        return Passed(taught, threshold, replace(report, kept=kept))

    def _error_of(self, rework: Rework, *, room: float) -> Callable[[Kept], float]:
        """Root of the mean square of good images' score errors, on the deployed engine."""
        held_out = rework.trials[0]
        images = self._stack(tuple(evenly(held_out.images, RANK_IMAGES)))
        with _open("onnxruntime", held_out.exact, "fp32") as engine:
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
            labels = self._labelled
            defective = np.array(labels.defective, bool)
            found.append(Trial(rework.exact, taught.model, labels.images, labels.names, defective))
        return found

    def _stack(self, paths: tuple[Path, ...]) -> Image:
        if paths not in self._images:
            size, roi = self._options.size, self._options.roi
            self._images[paths] = np.concatenate(list(fitted_batches(paths, size=size, roi=roi)))
        return self._images[paths]


def _levels(
    precision: Precision, rework: Rework
) -> tuple[tuple[Precision, frozenset[str] | None], ...]:
    """Higher precisions, the nearest first, and the nodes that can have them; None = any."""
    if precision == "int8":
        return (("fp16", rework.quantised), ("fp32", None))
    return (("fp32", None),) if precision == "fp16" else ()


def _labelled(samples: Sequence[Sample], options: Options, taught: Taught) -> _Labelled | None:
    """Some of the labelled images, evenly; none that was learnt from or cannot be read."""
    learnt = frozenset(taught.training.defects if taught.training else ())
    images, names, defective = [], [], []
    for sample in evenly(samples, GATE_IMAGES):
        if learnt and file_sha256(sample.path) in learnt:
            continue
        try:
            images.append(fit_image(image_from_file(sample.path), options.size, options.roi))
        except ImageError:
            continue  # the measurement of all labelled images names it
        names.append(shown(Path(sample.defect, sample.path.name)))
        defective.append(sample.defect != GOOD)
    return _Labelled(np.stack(images), tuple(names), tuple(defective)) if images else None


def _open(name: str, model: bytes, precision: Precision) -> Engine:
    return open_engine(model, engine=name, precision=precision)
