"""How fast an inspector is: the bare engine, and everything from the frame to the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge.result import Image, Result, Verdict
from engines.engine import Engine, Images
from engines.errors import EngineError

WARMUP = 10


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

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return asdict(self)


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
    alone, whole = _timed(
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
    )


def _timed(
    engine: Engine,
    *,
    frames: Sequence[Image],
    prepare: Callable[[Image], Images],
    inspect: Callable[[Image], Result],
    iterations: int,
) -> tuple[list[float], list[float]]:
    """Milliseconds of the engine alone and of the whole, per timed iteration."""
    prepared = [prepare(frame) for frame in frames]
    alone: list[float] = []
    whole: list[float] = []
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
    return alone, whole


def _latency(milliseconds: Sequence[float]) -> Latency:
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return Latency(p50=float(p50), p95=float(p95), p99=float(p99))
