"""Parity: what a graph at its built precision does differently from the same graph in fp32.

An inspector ships one threshold, so there is one here too: that of the deployed engine's scores.
The reference is the inspector that a build in fp32 makes of the same images, on ONNX Runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.images import Image
from calibrate.metrics import image_auroc
from calibrate.precision.parity_report import EngineParity, ParityReport, Spans, Spread
from engines.choose import ENGINES
from engines.engine import Engine, Precision
from engines.errors import EngineError

REFERENCE = "onnxruntime"
GATE_IMAGES = 64  # good ones; and of so many images of a trial the maps are compared
BATCH = 16
LEAST_ROOM = 1e-6
NAMES_SHOWN = 20
Kept: TypeAlias = Mapping[str, Precision]  # nodes of the fp32 graph, and what they compute in
Open: TypeAlias = Callable[[str, bytes, Precision], Engine]  # engine's name, graph, precision


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a graph gives for a trial's images.

    Attributes:
        maps: (m, H, W) float32, of at most `GATE_IMAGES` of them, evenly.
        scores: (n,) float32.
    """

    maps: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Images, and the two graphs that have to agree on them.

    Attributes:
        exact: serialised ONNX in fp32.
        built: at its precision.
        images: (n, H, W, 3) uint8 BGR, none of which the two have learnt from.
        names: of the images' files.
        defective: (n,) which of them show a defect; None where nobody has labelled them and all
            are good.
    """

    exact: bytes
    built: bytes
    images: Image
    names: tuple[str, ...]
    defective: npt.NDArray[np.bool_] | None = None


class References:
    """Outputs of the fp32 graphs on ONNX Runtime; each graph is run once.

    Args:
        open_engine: opens an engine by its name.
    """

    def __init__(self, open_engine: Open) -> None:
        self._open = open_engine
        self._found: dict[tuple[bytes, tuple[str, ...]], Outputs] = {}

    def of(self, trial: Trial) -> Outputs:
        """The trial's images through its fp32 graph."""
        key = (trial.exact, trial.names)
        if key not in self._found:
            with self._open(REFERENCE, trial.exact, "fp32") as engine:
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


def parity(
    trials: Sequence[Trial],
    *,
    references: References,
    engines: Sequence[str],
    open_engine: Open,
    report: ParityReport,
) -> ParityReport:
    """Run every engine over every trial and compare.

    Args:
        trials: held-out images, and labelled ones.
        references: remembers the fp32 side.
        engines: names, the deployed one first.
        open_engine: opens an engine by its name.
        report: precision, threshold, room and limits; the rest is filled in.

    Returns:
        The report with its figures.

    Raises:
        EngineError: the reference or the deployed engine does not take a graph, or fails.
    """
    exact = [references.of(trial) for trial in trials]
    found: list[EngineParity] = []
    outputs: list[list[Outputs]] = []
    failed: list[str] = []
    for name in engines:
        try:
            built, executes = _built(name, trials, open_engine, report.precision)
        except EngineError as error:
            if name == engines[0]:
                raise
            failed.append(str(error))
        else:
            outputs.append(built)
            found.append(_compared(name, executes, trials, (exact, built), report))
    labels = [trial.defective for trial in trials]
    good, labelled = (
        sum(len(trial.names) for trial in trials if (trial.defective is None) is unlabelled)
        for unlabelled in (True, False)
    )
    return replace(
        report,
        good=good,
        labelled=labelled,
        auroc=_auroc(exact, labels),
        engines=tuple(found),
        not_compared=tuple(failed),
        spans=tuple(_spans(exact, built) for built in outputs),
    )


def _spans(exact: Sequence[Outputs], built: Sequence[Outputs]) -> Spans:
    sides = np.stack([np.concatenate([part.scores for part in side]) for side in (exact, built)])
    sides[1] = np.where(np.isfinite(sides[1]), sides[1], sides[0])  # counted as not finite already
    return tuple(zip(sides.min(axis=0).tolist(), sides.max(axis=0).tolist(), strict=True))


def _built(
    name: str, trials: Sequence[Trial], open_engine: Open, precision: Precision
) -> tuple[list[Outputs], str]:
    """Outputs of the graphs at their precision, and the arithmetic that the engine ran."""
    outputs, executes = [], ""
    for trial in trials:
        with open_engine(name, trial.built, precision) as engine:
            outputs.append(outputs_of(engine, trial.images))
            executes = engine.executes
    return outputs, executes


def outputs_of(engine: Engine, images: Image) -> Outputs:
    """Scores of (n, H, W, 3) images, and some of their maps."""
    every = math.ceil(len(images) / GATE_IMAGES)
    maps, scores = [], []
    for start in range(0, len(images), BATCH):
        some = engine.infer(images[start : start + BATCH])
        maps.append(np.asarray(some[0][-start % every :: every], np.float32))
        scores.append(np.asarray(some[1], np.float32))
    return Outputs(np.concatenate(maps), np.concatenate(scores))


def room_below(threshold: float, held_out: npt.NDArray[np.float32]) -> float:
    """From the median score of good images up to the threshold; never 0."""
    return max(threshold - float(np.median(held_out)), LEAST_ROOM)


def _compared(
    name: str,
    executes: str,
    trials: Sequence[Trial],
    sides: tuple[Sequence[Outputs], Sequence[Outputs]],
    report: ParityReport,
) -> EngineParity:
    exact, built = (np.concatenate([part.scores for part in side]) for side in sides)
    names = [name for trial in trials for name in trial.names]
    defective = np.concatenate([_defective(trial) for trial in trials])
    finite = np.isfinite(built)
    threshold = np.float32(report.threshold)
    flipped = ((exact >= threshold) != (built >= threshold)) | ~finite
    error = np.abs(built.astype(np.float64) - exact) / report.room
    maps = [np.abs(one.maps - other.maps).ravel() for one, other in zip(*sides, strict=True)]
    return EngineParity(
        engine=name,
        executes=executes,
        flips=int(flipped.sum()),
        flipped=tuple(names[index] for index in np.flatnonzero(flipped)[:NAMES_SHOWN]),
        not_finite=int((~finite).sum()),
        score_error=_spread(error[finite & ~defective]),
        defect_score_error=_spread(error[finite & defective]) if defective.any() else None,
        map_error=_spread(np.concatenate(maps) / np.float32(report.room)),
        auroc=_auroc(sides[1], [trial.defective for trial in trials]),
    )


def _defective(trial: Trial) -> npt.NDArray[np.bool_]:
    return np.zeros(len(trial.names), bool) if trial.defective is None else trial.defective


def _spread(values: npt.NDArray[np.floating]) -> Spread:
    known = values[np.isfinite(values)]
    if not len(known):
        return Spread(0.0, 0.0, 0.0)
    return Spread(float(known.max()), float(np.quantile(known, 0.99)), float(known.mean()))


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
