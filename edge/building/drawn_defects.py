"""Defects drawn into good images that were not learnt from: what the inspector finds of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.defects.detection import JudgedDefect, detection_of
from calibrate.defects.draw import MIN_SIDE, DrawnDefect, DrawnImage, draw_defects
from calibrate.images import BATCH, Size, fit_image
from calibrate.learnt import LearntInspector, OpenEngine
from calibrate.progress import Advance, Stages
from cameras.image_files import image_from_file
from edge.building.model_size import SizedBuildOptions
from edge.drawing.grid import Row
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Image, Roi, Verdict
from engines.drawn_record import DrawnDefectsRecord
from engines.engine import Engine

MAX_DEFECTS = 300
MIN_PER_IMAGE, MAX_PER_IMAGE = 2, 6
EXAMPLES = 3  # pictures of missed defects, and of found ones


@dataclass(frozen=True, slots=True, eq=False)
class DrawnDefects:
    """What became of the drawn defects.

    Attributes:
        record: figures, as the manifest keeps them.
        rows: pictures for the report: the clearest that were missed, the faintest that were found.
        region_threshold: value of their maps from which a pixel belongs to a region.
    """

    record: DrawnDefectsRecord
    rows: tuple[Row, ...]
    region_threshold: float


def find_drawn_defects(
    inspector: LearntInspector,
    *,
    settings: DecisionSettings,
    options: SizedBuildOptions,
    open_engine: OpenEngine,
    stages: Stages,
    say: Callable[[str], None],
) -> DrawnDefects | None:
    """Draw defects into good images and judge them as a camera's pictures are judged.

    Each picture is judged by an inspector that did not learn from it, at the precision and on the
    engine that are deployed. Defects are drawn at the camera's size, into what is inspected.

    Args:
        inspector: whose trials hold the images and the inspectors.
        settings: with which the inspector that is shipped decides.
        options: precision, sizes, region of interest, seed and scale.
        open_engine: opens the deployed engine.
        stages: told about progress.
        say: receives a warning if the inspector is blind.

    Returns:
        None where what is inspected is too small to draw anything into it.

    Raises:
        ImageError: an image cannot be read any more.
        EngineError: the engine fails.
    """
    # The picture is what is inspected and nothing else, so regions lie in it as it is.
    settings = replace(settings, roi=None)
    with stages.stage("drawn defects") as advance:
        seen = _judge_all(
            inspector,
            settings=settings,
            options=options,
            open_engine=open_engine,
            progress=advance,
        )
    if not seen.judged:
        return None
    record = detection_of(
        seen.judged,
        good=inspector.held_out.tolist(),
        threshold=settings.threshold,
        images=len(seen.sides),
        shorter_side=float(np.median(seen.sides)),
        scale=options.scale,
    )
    if record.outlook == "blind":
        say(f"warning: {record.warning}")
    return DrawnDefects(record, seen.rows(), settings.region_threshold)


@dataclass(slots=True)
class _Tried:
    """What was judged so far, and the pictures that are worth showing."""

    judged: list[JudgedDefect] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    missed: list[tuple[float, Row]] = field(default_factory=list)
    found: list[tuple[float, Row]] = field(default_factory=list)

    def add(self, defect: DrawnDefect, row: Row) -> None:
        if row.score is None:  # not finite: the gate refuses such an inspector
            return
        found = row.verdict is Verdict.NG
        self.judged.append(JudgedDefect(defect, row.score, found))
        plain = math.log(defect.size) + math.log(defect.contrast)
        kept = self.found if found else self.missed
        kept.append((plain if found else -plain, row))
        kept.sort(key=lambda pair: pair[0])
        del kept[EXAMPLES:]

    def rows(self) -> tuple[Row, ...]:
        return tuple(row for _, row in (*self.missed, *self.found))


def _judge_all(
    inspector: LearntInspector,
    *,
    settings: DecisionSettings,
    options: SizedBuildOptions,
    open_engine: OpenEngine,
    progress: Advance,
) -> _Tried:
    count = sum(len(trial.images) for trial in inspector.trials)
    per_image = min(max(MIN_PER_IMAGE, MAX_DEFECTS // count), MAX_PER_IMAGE)
    seen = _Tried()
    for index, trial in enumerate(inspector.trials):
        drawn = draw_defects(
            _inspected(trial.images, roi=options.roi, seen=seen),
            seed=options.seed + index,
            per_image=per_image,
        )
        with open_engine(trial.built, options.precision) as engine:
            for batch in _batches(drawn):
                _judge(engine, batch, settings=settings, options=options, seen=seen)
                progress(min(1.0, len(seen.judged) / (count * per_image)))
    return seen


def _inspected(paths: Sequence[Path], *, roi: Roi | None, seen: _Tried) -> Iterator[Image]:
    """What is inspected of each picture, at the camera's size, where it is large enough."""
    for path in paths:
        image = image_from_file(path)
        if roi is not None:
            x, y, width, height = roi
            image = np.ascontiguousarray(image[y : y + height, x : x + width])
        if min(image.shape[:2]) >= MIN_SIDE:
            seen.sides.append(min(image.shape[:2]))
            yield image


def _batches(drawn: Iterator[DrawnImage]) -> Iterator[list[DrawnImage]]:
    part: list[DrawnImage] = []
    for one in drawn:
        part.append(one)
        if len(part) == BATCH:
            yield part
            part = []
    if part:
        yield part


def _judge(
    engine: Engine,
    batch: Sequence[DrawnImage],
    *,
    settings: DecisionSettings,
    options: SizedBuildOptions,
    seen: _Tried,
) -> None:
    fitted = np.stack([fit_image(one.image, options.size) for one in batch])
    maps, scores = engine.infer(fitted)
    for one, image, anomaly_map, score in zip(batch, fitted, maps, scores, strict=True):
        ruling = decide(anomaly_map, float(score), settings=settings, frame_shape=one.image.shape)
        row = Row(
            image=image,
            anomaly_map=np.array(anomaly_map),
            mask=_shrink(one.mask, options.size),
            title=_title(one),
            score=ruling.score,
            verdict=ruling.verdict,
            defect_mask=ruling.defect_mask,
        )
        seen.add(one.defect, row)


def _shrink(mask: npt.NDArray[np.bool_], size: Size) -> npt.NDArray[np.bool_]:
    """At the model's size; a defect that is thinner than its pixels still shows."""
    share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0)


def _title(drawn: DrawnImage) -> str:
    side = round(drawn.defect.size * min(drawn.mask.shape))
    return f"{drawn.defect.kind}, {side} px"
