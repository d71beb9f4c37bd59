"""`edge bench`: how long a bundle takes on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from calibrate.dataset import dataset_from_folder
from calibrate.images import fit_image
from cameras.image_files import image_from_bytes, image_from_file
from edge.evaluation.bench import BenchReport, bench, with_power
from edge.evaluation.roofline import CPU_ENGINES, roofline
from edge.inspection.inspector import load_with_progress
from edge.result import Image
from engines.bundle import Bundle
from engines.choose import AUTO
from engines.engine import Images

FRAMES = 16  # so many different pictures are enough, and fit into memory
CAMERA = (720, 1280)  # (height, width) in px of a common camera


def bench_bundle(
    path: Path,
    *,
    images: Path | None = None,
    engine: str = AUTO,
    iterations: int = 200,
    camera: tuple[int, int] = CAMERA,
) -> BenchReport:
    """Time a bundle's engine, and everything from a frame to its verdict, and measure the machine.

    Args:
        path: the bundle's folder.
        images: an image, or a folder of them, as the camera takes them; None makes frames of
            the camera's size from the bundle's golden images.
        engine: ``auto`` or the name of one.
        iterations: timed frames.
        camera: (height, width) in px of those frames.

    Raises:
        BundleError, EngineError, DatasetError, ImageError: as their modules say.
    """
    with load_with_progress(path, engine=engine) as inspector:
        manifest, roi = inspector.bundle.manifest, inspector.settings.roi

        def prepare(frame: Image) -> Images:
            return fit_image(frame, manifest.size, roi)[None]

        frames = _golden(inspector.bundle, camera) if images is None else _read(images)
        if images is None:
            inspector.health = inspector.health.without("size")  # they are made to measure
        report = bench(
            inspector.engine,
            precision=manifest.precision,
            frames=frames,
            prepare=prepare,
            inspect=inspector.inspect,
            iterations=iterations,
        )
        gpu = inspector.engine.name not in CPU_ENGINES
        report = with_power(report, inspector.inspect, frames, gpu=gpu)
        found = roofline(inspector.bundle.model(), inspector.engine, engine_ms=report.engine_ms.p50)
        return replace(report, roofline=found)


def _read(images: Path) -> list[Image]:
    if images.is_file():
        return [image_from_file(images)]
    return [image_from_file(path) for path in dataset_from_folder(images).train[:FRAMES]]


def _golden(bundle: Bundle, camera: tuple[int, int]) -> list[Image]:
    """The golden images where the inspector looks, in frames of the camera's size."""
    roi = bundle.manifest.roi
    height, width = camera
    if roi is not None:
        height, width = max(height, roi.y + roi.height), max(width, roi.x + roi.width)
    frames = []
    for golden in bundle.manifest.golden:
        image = image_from_bytes(bundle.read(golden.file))
        frame = np.asarray(cv2.resize(image, (width, height)), np.uint8)
        if roi is not None:
            part = cv2.resize(image, (roi.width, roi.height))
            frame[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width] = part
        frames.append(frame)
    return frames
