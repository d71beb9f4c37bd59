"""Judging a picture with an engine: what an inspector does, without a bundle around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from calibrate.images import Size, fit_image
from cameras.errors import ImageError
from cameras.frame import Frame
from cameras.source import frame_now
from edge.health.checks import ImageChecks
from edge.health.measurements import ImageStatsReader
from edge.inspection.failure_reason import reason_from_failure
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import AnomalyMap, Image, Result, error_from_frame
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


def judge_within_border(
    frames: Sequence[Frame],
    judge: Callable[[list[tuple[Frame, Image]]], list[Result]],
    *,
    threshold: float,
) -> list[Result]:
    """A result for each frame, whatever happens; never an exception.

    Args:
        frames: in any number, with images or without.
        judge: of those that have one, a result for each.
        threshold: of the ERROR results.
    """
    results: dict[int, Result] = {}
    pictures: dict[int, tuple[Frame, Image]] = {}
    for index, frame in enumerate(frames):
        problem = "" if frame.image is None else invalid_image_reason(frame.image)
        if frame.image is None or problem:
            results[index] = error_from_frame(frame, threshold=threshold, reason=problem)
        else:
            pictures[index] = frame, frame.image
    judged = _guarded([*pictures.values()], judge, threshold=threshold) if pictures else []
    results.update(zip(pictures, judged, strict=True))
    return [results[index] for index in range(len(frames))]


def _guarded(
    pictures: list[tuple[Frame, Image]],
    judge: Callable[[list[tuple[Frame, Image]]], list[Result]],
    *,
    threshold: float,
) -> list[Result]:
    try:
        return judge(pictures)
    except Exception as error:  # noqa: BLE001  # the border: an ERROR of these parts alone
        if len(pictures) > 1:  # only whose it is shall see it
            return [
                result for one in pictures for result in _guarded([one], judge, threshold=threshold)
            ]
        reason = reason_from_failure("an inspection", error)
        return [error_from_frame(pictures[0][0], threshold=threshold, reason=reason)]


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
    (result,) = judge_frames(
        [(frame, image)],
        engine=engine,
        settings=settings,
        checks=checks,
        stats=stats,
        has_learnt_roi=has_learnt_roi,
    )
    return result


def judge_frames(
    pictures: Sequence[tuple[Frame, Image]],
    *,
    engine: Engine,
    settings: DecisionSettings,
    checks: ImageChecks,
    stats: ImageStatsReader,
    has_learnt_roi: bool,
) -> list[Result]:
    """Judge several pictures with one call of the engine; else as `judge_frame`.

    Returns:
        A result for each, in their order; its time in the engine is an equal part of the call's.
    """
    results: dict[int, Result] = {}
    fitted: dict[int, tuple[Image, float]] = {}
    for index, (frame, image) in enumerate(pictures):
        begun = time.perf_counter()
        small = fit_image(image, stats.size, settings.roi)
        problem = _find_unfit(image, small, checks, stats=stats, has_learnt_roi=has_learnt_roi)
        if problem:
            results[index] = error_from_frame(frame, threshold=settings.threshold, reason=problem)
        else:
            fitted[index] = small, (time.perf_counter() - begun) * 1e3
    if fitted:
        begun = time.perf_counter()
        smalls = [small for small, _ in fitted.values()]
        maps, scores = engine.infer(smalls[0][None] if len(smalls) == 1 else np.stack(smalls))
        engine_ms = (time.perf_counter() - begun) * 1e3 / len(smalls)
        for place, (index, (_, prepare_ms)) in enumerate(fitted.items()):
            # A copy where there are several: a result must not keep the maps of the others.
            anomaly_map = maps[place] if len(smalls) == 1 else maps[place].copy()
            speed = {"prepare": prepare_ms, "engine": engine_ms}
            results[index] = _decide_about(
                *pictures[index], anomaly_map, float(scores[place]), settings=settings, speed=speed
            )
    return [results[index] for index in range(len(pictures))]


def _decide_about(
    frame: Frame,
    image: Image,
    anomaly_map: AnomalyMap,
    score: float,
    *,
    settings: DecisionSettings,
    speed: dict[str, float],
) -> Result:
    begun = time.perf_counter()
    found = decide(anomaly_map, score, settings=settings, frame_shape=image.shape)
    return Result(
        source=frame.source,
        frame=frame.index,
        captured_at_ns=frame.captured_at_ns,
        verdict=found.verdict,
        score=found.score,
        threshold=settings.threshold,
        regions=found.regions,
        reason=found.reason,
        speed={**speed, "decide": (time.perf_counter() - begun) * 1e3},
        anomaly_map=anomaly_map,
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


def invalid_image_reason(picture: Image) -> str:
    """Why an array is no picture, or an empty string."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        return f"a picture of type {getattr(picture, 'dtype', type(picture).__name__)}; give uint8"
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        return f"a picture of shape {picture.shape}; give (height, width, 3), BGR"
    return ""
