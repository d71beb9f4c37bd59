"""Judging a picture with an engine: what an inspector does, without a bundle around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from calibrate.images import Size, fit_image
from cameras.errors import ImageError
from cameras.frame import Frame
from cameras.source import frame_now
from edge.health.checks import ImageChecks
from edge.health.measurements import ImageStatsReader
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Image, Result, error_from_frame
from engines.engine import Engine

Judge: TypeAlias = Callable[[Image], Result]
"""Judges (H, W, 3) uint8 BGR; what it cannot judge is an ERROR, never an exception."""


def judge_with_engine(
    engine: Engine, *, size: Size, settings: DecisionSettings, checks: ImageChecks
) -> Judge:
    """Return what judges pictures as an inspector will that is built from all this.

    Args:
        engine: runs the graph.
        size: (height, width) of the graph.
        settings: what is a reject, and the part that is inspected.
        checks: of a picture's health.
    """
    stats = ImageStatsReader(size)
    has_learnt_roi = settings.roi is not None

    def judge(image: Image) -> Result:
        frame = frame_now("image", 0, image)
        try:
            return judge_frame(
                frame,
                image,
                engine=engine,
                settings=settings,
                checks=checks,
                stats=stats,
                has_learnt_roi=has_learnt_roi,
            )
        except ImageError as error:
            return error_from_frame(frame, threshold=settings.threshold, reason=str(error))

    return judge


def judge_frame(
    frame: Frame,
    image: Image,
    *,
    engine: Engine,
    settings: DecisionSettings,
    checks: ImageChecks,
    stats: ImageStatsReader,
    has_learnt_roi: bool,
) -> Result:
    """Judge the picture of a frame.

    Args:
        frame: whose picture it is.
        image: (H, W, 3) uint8 BGR, the frame's own or what became of it.
        engine: runs the graph.
        settings: what is a reject, and the part that is inspected.
        checks: of a picture's health.
        stats: measures pictures of the graph's size.
        has_learnt_roi: whether the region of interest is in px of the good images.

    Raises:
        ImageError: the region of interest does not lie in the picture.
        EngineError: the engine failed.
    """
    begun = time.perf_counter()
    fitted = fit_image(image, stats.size, settings.roi)
    problem = _find_unfit(image, fitted, checks, stats=stats, has_learnt_roi=has_learnt_roi)
    if problem:
        return error_from_frame(frame, threshold=settings.threshold, reason=problem)
    prepared = time.perf_counter()
    maps, scores = engine.infer(fitted[None])
    inferred = time.perf_counter()
    found = decide(maps[0], float(scores[0]), settings=settings, frame_shape=image.shape)
    decided = time.perf_counter()
    return Result(
        source=frame.source,
        frame=frame.index,
        captured_at_ns=frame.captured_at_ns,
        verdict=found.verdict,
        score=found.score,
        threshold=settings.threshold,
        regions=found.regions,
        reason=found.reason,
        speed={
            "prepare": (prepared - begun) * 1e3,
            "engine": (inferred - prepared) * 1e3,
            "decide": (decided - inferred) * 1e3,
        },
        anomaly_map=maps[0],
        defect_mask=found.defect_mask,
        roi=settings.roi,
        image=image,
        pixel_threshold=settings.pixel_threshold,
        ignored=found.ignored,
    )


def _find_unfit(
    image: Image,
    fitted: Image,
    checks: ImageChecks,
    *,
    stats: ImageStatsReader,
    has_learnt_roi: bool,
) -> str:
    """Why a picture is not fit to be judged, the check first; empty if it is."""
    problem = checks.find_wrong_size(image.shape) if has_learnt_roi else ""
    if problem or not checks.needs_stats:
        return problem
    return checks.find_problem(stats.read(fitted))
