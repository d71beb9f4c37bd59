"""Figures of a new inspector on labelled images, as the line will judge them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from calibrate.dataset import Sample
from calibrate.progress import Stages
from edge.checking.model_size import SizedBuildOptions
from edge.evaluation.measure import Measured, file_sha256, measure
from edge.health.checks import ImageChecks
from edge.inspection.judge import judge_with_engine
from edge.inspection.verdict import DecisionSettings
from edge.result import Say
from engines.engine import Engine
from engines.manifest import DIGITS, MAX_LEARNT, HealthRecord


def measure_labelled(
    engine: Engine,
    samples: Sequence[Sample],
    *,
    options: SizedBuildOptions,
    settings: DecisionSettings,
    health: HealthRecord,
    learnt: frozenset[str],
    compare: Sequence[float],
    stages: Stages,
) -> Measured | None:
    """Measure the engine that is deployed; None without labelled images.

    Args:
        engine: runs the new graph.
        samples: labelled images.
        options: of the build.
        settings: with which it decides.
        health: with which it calls a picture an ERROR.
        learnt: beginnings of the SHA-256 of files that it learnt from.
        compare: other thresholds.
        stages: told about progress.

    Raises:
        DatasetError: a mask that does not fit its image.
    """
    if not samples:
        return None
    checks = ImageChecks(health)
    judge = judge_with_engine(engine, size=options.size, settings=settings, checks=checks)
    with stages.stage("labelled images") as advance:
        return measure(
            judge,
            samples,
            size=options.size,
            settings=settings,
            learnt=learnt,
            compare=compare,
            progress=advance,
        )


def digest_beginnings(digests: Iterable[str]) -> Iterable[str]:
    """As many digits of each SHA-256 as a manifest keeps of an image that was learnt from."""
    return (digest[:DIGITS] for digest in digests)


def digests_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """What a manifest keeps of the images that were learnt from; nothing where they are too many.

    An image that is gone meanwhile has none.
    """
    if len(paths) > MAX_LEARNT:
        return ()
    return tuple(digest_beginnings(filter(None, map(file_sha256, paths))))


def say_oddities(measured: Measured | None, *, say: Say) -> None:
    """Say what nobody should miss of the figures."""
    if measured is None:
        return
    if measured.evaluation.alarm:
        say(f"ALARM: {measured.evaluation.alarm}")
    for line in measured.evaluation.warnings:
        say(line)
