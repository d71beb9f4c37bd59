"""How fast an inspector is: the bare engine, and everything from the frame to the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edge.evaluation.power import metered
from edge.evaluation.roofline import Roofline
from edge.result import Image, Result, Verdict
from engines.engine import Engine, Images
from engines.errors import EngineError
from engines.work import Accountable

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
        host_ms: of the end-to-end time what is not the engine's: fitting the frame, deciding,
            making the result. None where the results don't say.
        launches, copies, copied_bytes: see `engines.work.Work`; None where the engine doesn't tell.
        watts: mean power while frames were inspected; None where the device doesn't tell.
        hz_per_watt: frames per second and watt, that is frames per joule.
        power: who measured the power, or why nobody did.
        roofline: the least time that the graph can take here; None if it was not asked for.
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
    launches: int | None = None
    copies: int | None = None
    copied_bytes: int | None = None
    watts: float | None = None
    hz_per_watt: float | None = None
    power: str = ""
    roofline: Roofline | None = None

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
    alone, whole, host = _timed(
        engine, frames=frames, prepare=prepare, inspect=inspect, iterations=iterations
    )
    work = engine.work() if isinstance(engine, Accountable) else None
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
        launches=work.launches if work else None,
        copies=work.copies if work else None,
        copied_bytes=work.copied_bytes if work else None,
    )


def with_power(
    report: BenchReport,
    inspect: Callable[[Image], Result],
    frames: Sequence[Image],
    *,
    gpu: bool,
) -> BenchReport:
    """Inspect as many frames again, and nothing else, while the device counts its energy.

    Args:
        report: to complete.
        inspect: a frame to its result.
        frames: used in turn.
        gpu: the engine runs on an NVIDIA GPU.
    """
    with metered(gpu=gpu) as energy:
        for turn in range(report.iterations):
            inspect(frames[turn % len(frames)])
    used = energy.joules
    return replace(
        report,
        watts=energy.watts,
        hz_per_watt=report.iterations / used if used else None,
        power=energy.source,
    )


def _timed(
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
