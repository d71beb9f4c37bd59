"""The least time that a graph can take here: its arithmetic and traffic at this machine's peak.

Peak arithmetic is measured with the same engine and at the same precision, by a graph that is
nothing but large matrix products; bandwidth by moving as much memory as the graph does. Each
convolution takes at least the longer of the two; see Williams, Waterman and Patterson, "Roofline",
CACM 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from graph_costs import costs_from_onnx
from probes import POOLED_BYTES, pools_graph, products_graph

from engines.choose import open_engine
from engines.cpu.processor import usable_cores
from engines.engine import Engine, EngineOptions, Precision
from engines.graph_cost import Cost

CPU_ENGINES = frozenset({"openvino", "onnxruntime"})
BYTES = {"int8": 1, "bf16": 2, "fp16": 2, "f32": 4, "fp32": 4}
PROBE_S = 0.5
GPU_SIDE, CPU_SIDE = 128, 32
LEAST_MOVED = 1 << 20


@dataclass(frozen=True, slots=True)
class Roofline:
    """What a graph needs and what this machine has.

    Attributes:
        gflop: of one call: multiplications and additions of convolutions and matrix products.
        mib: that these read and write at least.
        peak_gflops: measured, by arithmetic, such as ``bf16``.
        bandwidth_gb_s: measured, reading and writing together.
        bound_ms: no engine can be faster than this here.
        share: of the bound in the engine's time; 1.0 is the limit.
    """

    gflop: float
    mib: float
    peak_gflops: dict[str, float]
    bandwidth_gb_s: float
    bound_ms: float
    share: float


def roofline(model: bytes, engine: Engine, *, engine_ms: float) -> Roofline:
    """Count a graph and measure the machine; takes a few seconds.

    Args:
        model: serialised ONNX.
        engine: that runs it.
        engine_ms: how long it takes for one call.

    Raises:
        EngineError: the engine doesn't take a probe.
    """
    costs = costs_from_onnx(model)
    kinds = [arithmetic(cost, engine.executes) for cost in costs]
    peaks = {kind: peak_flops(engine.name, kind) for kind in sorted(set(kinds))}
    moved = [cost.numbers * BYTES[kind] for cost, kind in zip(costs, kinds, strict=True)]
    bandwidth = _bandwidth(engine.name, sum(moved))
    bound = bound_s(costs, kinds, peaks=peaks, bandwidth=bandwidth)
    return Roofline(
        gflop=sum(cost.flop for cost in costs) / 1e9,
        mib=sum(moved) / 2**20,
        peak_gflops={kind: peak / 1e9 for kind, peak in peaks.items()},
        bandwidth_gb_s=bandwidth / 1e9,
        bound_ms=bound * 1e3,
        share=bound * 1e3 / engine_ms,
    )


def bound_s(
    costs: Sequence[Cost], kinds: Sequence[str], *, peaks: dict[str, float], bandwidth: float
) -> float:
    """Least seconds for one call: of each product the longer of computing and moving.

    Args:
        costs: of the products.
        kinds: arithmetic of each.
        peaks: FLOP/s by arithmetic.
        bandwidth: in B/s.
    """
    return sum(
        max(cost.flop / peaks[kind], cost.numbers * BYTES[kind] / bandwidth)
        for cost, kind in zip(costs, kinds, strict=True)
    )


def arithmetic(cost: Cost, executes: str) -> str:
    """What a product computes in, given all that the engine executes, such as ``int8+bf16``."""
    kinds = executes.split("+")
    if cost.rounded and "int8" in kinds:
        return "int8"
    others = [kind for kind in kinds if kind in BYTES and kind != "int8"]
    return others[0] if others else "f32"


def peak_flops(engine: str, kind: str) -> float:
    """FLOP/s of an engine in one arithmetic, by large matrix products."""
    precision: Precision = (
        "int8" if kind == "int8" else "fp16" if kind in ("bf16", "fp16") else "fp32"
    )
    side = CPU_SIDE if engine in CPU_ENGINES else GPU_SIDE
    model, flop = products_graph(precision, side=side)
    return flop / _least_s(engine, model, precision)


def engine_bandwidth(engine: str) -> float:
    """B/s that an engine reads and writes in poolings, which hardly compute: for a GPU's memory."""
    few, many = (_least_s(engine, pools_graph(count), "fp32") for count in (2, 10))
    return 8 * POOLED_BYTES / max(many - few, 1e-9)


def memory_bandwidth(moved: int) -> float:
    """B/s of copying in the processor, all cores at once, within so many bytes: caches count."""
    cores = usable_cores()
    size = max(moved, LEAST_MOVED) // (2 * cores)
    pairs = [(np.zeros(size, np.uint8), np.ones(size, np.uint8)) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:

        def copied() -> None:
            for done in [pool.submit(np.copyto, to, source) for to, source in pairs]:
                done.result()

        return 2.0 * size * cores / quickest_s(copied)


def _bandwidth(engine: str, moved: int) -> float:
    return memory_bandwidth(moved) if engine in CPU_ENGINES else engine_bandwidth(engine)


def _least_s(engine: str, model: bytes, precision: Precision) -> float:
    with open_engine(model, engine=engine, options=EngineOptions(precision)) as opened:
        image = np.full((1, *opened.size, 3), 127, np.uint8)
        return quickest_s(lambda: opened.infer(image))


def quickest_s(work: Callable[[], object]) -> float:
    """Seconds of the quickest of several runs: what else the machine does only adds."""
    work()
    took: list[float] = []
    ends = time.perf_counter() + PROBE_S
    while len(took) < 5 or (time.perf_counter() < ends and len(took) < 1000):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)
