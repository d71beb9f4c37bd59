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
from calibrate.defects.draw import DrawnDefect, DrawnImage, draw_defects
from calibrate.defects.inspected import inspected_from_file
from calibrate.images import Size, fit_image, in_batches
from calibrate.learnt import LearntInspector, OpenEngine
from calibrate.progress import Advance, Stages
from calibrate.threshold import reaches
from edge.checking.model_size import SizedBuildOptions, advise_tiles
from edge.drawing.grid import Row
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Image, Verdict
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
        None where what is inspected is too small to draw anything into it, or where the good
        images are rejected as they are.

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
        images=len(seen.shapes),
        shorter_side=float(np.median([min(shape) for shape in seen.shapes])),
        scale=options.scale,
    )
    if record.outlook == "blind":
        say(f"warning: {record.warning}")
    advice = _advise(record, max(seen.shapes, key=math.prod), options)
    if advice:
        say(advice)
    return DrawnDefects(record, seen.rows(), settings.region_threshold)


def _advise(record: DrawnDefectsRecord, picture: Size, options: SizedBuildOptions) -> str:
    """Tiles, where missed defects may be too small for the model; PRN has none.

    Args:
        record: what was found.
        picture: (height, width) of what is inspected of the largest, in px of the camera.
        options: with the model's size. Where that alone called for tiles, it was said already.
    """
    if record.outlook == "fine" or options.model == "prn":
        return ""
    if advise_tiles(picture, options.size, tiles=options.tiles):
        return ""
    return advise_tiles(picture, options.size, tiles=options.tiles, missed=True)


@dataclass(slots=True)
class _Tried:
    """What was judged so far, and the pictures that are worth showing."""

    judged: list[JudgedDefect] = field(default_factory=list)
    shapes: list[tuple[int, int]] = field(default_factory=list)
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
    rejected = _rejected(inspector, settings.threshold)
    images = [[path for path in trial.images if path not in rejected] for trial in inspector.trials]
    count = max(1, sum(len(paths) for paths in images))
    per_image = min(max(MIN_PER_IMAGE, MAX_DEFECTS // count), MAX_PER_IMAGE)
    seen = _Tried()
    for index, (trial, paths) in enumerate(zip(inspector.trials, images, strict=True)):
        begun = len(seen.shapes)
        drawn = draw_defects(
            _inspected(paths, options=options, seen=seen),
            seed=options.seed + index,
            per_image=per_image,
        )
        with open_engine(trial.built, options.precision) as engine:
            for batch in in_batches(drawn):
                shapes = [seen.shapes[begun + one.source] for one in batch]
                _judge(engine, batch, shapes, settings=settings, size=options.size, seen=seen)
                progress(min(1.0, len(seen.judged) / (count * per_image)))
    return seen


def _rejected(inspector: LearntInspector, threshold: float) -> set[Path]:
    """Good images that are rejected as they are: no defect in them would be what is found."""
    reached = reaches(inspector.held_out, threshold)
    return {path for path, is_ng in zip(inspector.held_out_files, reached, strict=True) if is_ng}


def _inspected(
    paths: Sequence[Path], *, options: SizedBuildOptions, seen: _Tried
) -> Iterator[Image]:
    """What is inspected of each picture, where it is large enough to draw into."""
    for path in paths:
        found = inspected_from_file(path, size=options.size, roi=options.roi)
        if found is not None:
            image, shape = found
            seen.shapes.append(shape)
            yield image


def _judge(
    engine: Engine,
    batch: Sequence[DrawnImage],
    shapes: Sequence[tuple[int, int]],
    *,
    settings: DecisionSettings,
    size: Size,
    seen: _Tried,
) -> None:
    fitted = np.stack([fit_image(one.image, size) for one in batch])
    maps, scores = engine.infer(fitted)
    for one, image, shape, anomaly_map, score in zip(
        batch, fitted, shapes, maps, scores, strict=True
    ):
        ruling = decide(anomaly_map, float(score), settings=settings, frame_shape=shape)
        row = Row(
            image=image,
            anomaly_map=np.array(anomaly_map),
            mask=_shrink(one.mask, size),
            title=f"{one.defect.kind}, {one.defect.size:.0%} of the side",
            score=ruling.score,
            verdict=ruling.verdict,
            defect_mask=ruling.defect_mask,
        )
        seen.add(one.defect, row)


def _shrink(mask: npt.NDArray[np.bool_], size: Size) -> npt.NDArray[np.bool_]:
    """At the model's size; a defect that is thinner than its pixels still shows."""
    share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0)
