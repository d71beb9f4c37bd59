"""How fast an inspector is: the bare engine, and everything from the frame to the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibrate.dataset import dataset_from_folder
from calibrate.images import Size, fit_image
from cameras.image_files import image_from_bytes, image_from_file, taking_bits
from edge.evaluation.layer_times import LayerShare, time_layers
from edge.inspection.inspector import Inspector
from edge.inspection.loading import load_with_progress
from edge.result import Image, Result, Verdict
from engines.bundle import Bundle
from engines.engine import Engine, Images
from engines.errors import EngineError

WARMUP = 10
FRAMES = 16  # so many different images are enough, and fit into memory


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of one step's duration, in ms."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured.

    Attributes:
        engine: its name.
        device: what it runs on.
        precision: that was asked for.
        executes: arithmetic that runs, such as ``bf16``.
        iterations: frames that were timed.
        engine_ms: an image of the model's size in, map and score out.
        end_to_end_ms: a frame in, the verdict with its regions out.
        rate_hz: frames per second, end to end, one after the other.
        ratio_to_engine: median end to end over the engine's median; 1.0 would be free.
        host_ms: of the end-to-end time what is not the engine's: fitting the frame, deciding,
            making the result. None where the results don't say.
        launches: what a GPU is given of a frame, such as one CUDA graph; empty on a CPU.
        layers: the engine's layers and their times, slowest first; None if nobody asked.
    """

    engine: str
    device: str
    precision: str
    executes: str
    iterations: int
    engine_ms: Latency
    end_to_end_ms: Latency
    rate_hz: float
    ratio_to_engine: float
    host_ms: Latency | None = None
    launches: str = ""
    layers: tuple[LayerShare, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return asdict(self)


def bench_bundle(
    path: Path,
    *,
    images: Path | None,
    engine: str,
    iterations: int,
    camera: Size,
    layers: bool = False,
) -> BenchReport:
    """Time a bundle's engine, and everything from a frame to its verdict.

    Args:
        path: the bundle's folder.
        images: an image, or a folder of them, as the camera takes them; None makes frames of
            the camera's size from the bundle's golden images.
        engine: as `engines.choose.choose_engine` takes it.
        iterations: timed frames.
        camera: (height, width) in px of those frames.
        layers: also time each layer, afterwards and in an engine of its own.

    Raises:
        BundleError, EngineError, DatasetError, ImageError: as their modules say.
    """
    with load_with_progress(path, engine=engine) as inspector:
        with taking_bits(inspector.bundle.manifest.bit_depth):
            frames = _golden(inspector.bundle, camera) if images is None else _read(images)
        if images is None:
            inspector.health = inspector.health.without("size")  # they are made to measure
        report = bench_inspector(inspector, frames, iterations=iterations)
        if not layers:
            return report
        opened, roi = inspector.bundle, inspector.settings.roi
    # Only now, with the engine closed: a GPU may have no memory for two.
    prepared = [fit_image(frame, opened.manifest.size, roi)[None] for frame in frames]
    times = time_layers(opened, prepared, engine=engine, calls=iterations)
    return replace(report, layers=times)


def bench_inspector(
    inspector: Inspector, frames: Sequence[Image], *, iterations: int
) -> BenchReport:
    """Time an inspector that is open; see `bench`."""
    manifest, roi = inspector.bundle.manifest, inspector.settings.roi

    def prepare(frame: Image) -> Images:
        return fit_image(frame, manifest.size, roi)[None]

    return bench(
        inspector.engine,
        precision=manifest.precision,
        frames=frames,
        prepare=prepare,
        inspect=inspector.inspect,
        iterations=iterations,
    )


def bench(
    engine: Engine,
    *,
    precision: str,
    frames: Sequence[Image],
    prepare: Callable[[Image], Images],
    inspect: Callable[[Image], Result],
    iterations: int = 200,
) -> BenchReport:
    """Time the engine and the whole inspector, turn by turn, so that both see the same machine.

    Args:
        engine: that `inspect` uses.
        precision: of its graph.
        frames: (H, W, 3) uint8 BGR as a camera delivers them, used in turn; at least one.
        prepare: a frame to the engine's (1, h, w, 3) uint8 input.
        inspect: a frame to its result.
        iterations: timed frames, after a few that are not.

    Raises:
        EngineError: nothing to measure, or `inspect` gave no verdict: an error is quick, and its
            time is nobody's latency.
    """
    if not frames or iterations < 1:
        raise EngineError("bench: nothing to measure; give at least one image and one iteration")
    alone, whole, host = _time_steps(
        engine, frames=frames, prepare=prepare, inspect=inspect, iterations=iterations
    )
    return BenchReport(
        engine=engine.name,
        device=engine.device,
        precision=precision,
        executes=engine.executes,
        iterations=iterations,
        engine_ms=_latency(alone),
        end_to_end_ms=_latency(whole),
        rate_hz=1e3 / float(np.mean(whole)),
        ratio_to_engine=float(np.median(whole) / np.median(alone)),
        host_ms=_latency(host) if host else None,
        launches=getattr(engine, "launches", ""),
    )


def _time_steps(
    engine: Engine,
    *,
    frames: Sequence[Image],
    prepare: Callable[[Image], Images],
    inspect: Callable[[Image], Result],
    iterations: int,
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of the engine alone, of the whole, and of the whole without its engine."""
    prepared = [prepare(frame) for frame in frames]
    alone: list[float] = []
    whole: list[float] = []
    host: list[float] = []
    for turn in range(-WARMUP, iterations):
        index = turn % len(frames)
        begun = time.perf_counter()
        engine.infer(prepared[index])
        between = time.perf_counter()
        result = inspect(frames[index])
        ended = time.perf_counter()
        if result.verdict is Verdict.ERROR:
            raise EngineError(f"bench: no verdict: {result.reason}")
        if turn >= 0:
            alone.append(1e3 * (between - begun))
            whole.append(1e3 * (ended - between))
            if "engine" in result.speed:
                host.append(whole[-1] - result.speed["engine"])
    return alone, whole, host


def _latency(milliseconds: Sequence[float]) -> Latency:
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return Latency(p50=float(p50), p95=float(p95), p99=float(p99))


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
