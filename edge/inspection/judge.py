"""Judging a picture with an engine: what an inspector does, without a bundle around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from calibrate.images import Size, fit_image
from cameras.errors import ImageError
from cameras.source import frame_now
from edge.health.checks import ImageChecks
from edge.health.measurements import ImageStatsReader
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Image, Result, Verdict, error_from_frame
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

    def judge(image: Image) -> Result:
        frame = frame_now("image", 0, image)
        try:
            fitted = fit_image(image, size, settings.roi)
        except ImageError as error:
            return error_from_frame(frame, threshold=settings.threshold, reason=str(error))
        has_learnt_roi = settings.roi is not None
        problem = find_unfit(image, fitted, checks, stats=stats, has_learnt_roi=has_learnt_roi)
        if problem:
            return error_from_frame(frame, threshold=settings.threshold, reason=problem)
        maps, scores = engine.infer(fitted[None])
        found = decide(maps[0], float(scores[0]), settings=settings, frame_shape=image.shape)
        if found.verdict is Verdict.ERROR:
            return error_from_frame(frame, threshold=settings.threshold, reason=found.reason)
        return Result(
            source=frame.source,
            frame=frame.index,
            captured_at_ns=frame.captured_at_ns,
            verdict=found.verdict,
            score=found.score,
            threshold=settings.threshold,
            regions=found.regions,
            anomaly_map=maps[0],
            defect_mask=found.defect_mask,
            roi=settings.roi,
            image=image,
            pixel_threshold=settings.pixel_threshold,
            ignored=found.ignored,
        )

    return judge


def find_unfit(
    image: Image,
    fitted: Image,
    checks: ImageChecks,
    *,
    stats: ImageStatsReader,
    has_learnt_roi: bool,
) -> str:
    """Why a picture is not fit to be judged, the check first; empty if it is.

    Args:
        image: (H, W, 3) uint8 BGR as it came.
        fitted: the same at the model's size.
        checks: with the limits.
        stats: measures pictures of the model's size.
        has_learnt_roi: whether the region of interest is in px of the good images.
    """
    problem = checks.find_wrong_size(image.shape) if has_learnt_roi else ""
    if problem or not checks.needs_stats:
        return problem
    return checks.find_problem(stats.read(fitted))
