"""From ONNX to a graph that OpenVINO's CPU plugin has compiled, or has compiled before."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engines.cpu.openvino_cache import Blob, BlobKey, load_blob, store_blob
from engines.cpu.processor import cpu_instructions, cpu_name, granted_cpus, usable_cores
from engines.engine import Precision

Mode = Literal["latency", "throughput"]
RECIPE = 2
"""Raise it with every change to what is done to a graph before the plugin compiles it."""
MAX_STREAMS = 8


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What to compile.

    Attributes:
        model: serialised ONNX.
        precision: of the graph.
        mixed: let convolutions compute in bf16 (see `engines.cpu.openvino_precision`).
        threads: of a CPU engine; None takes all usable cores.
        plans: folder that keeps compiled graphs; None keeps none.
        say: receives a line if a compiled graph cannot be kept.
        counts_time: have the plugin measure each layer; what it compiles so is never kept.
    """

    model: bytes
    precision: Precision
    mixed: bool
    threads: int | None = None
    plans: Path | None = None
    say: Callable[[str], None] | None = None
    counts_time: bool = False


def import_or_compile(openvino: Any, core: Any, request: CompileRequest, *, mode: Mode) -> Any:
    """Import the graph if this machine compiled the same before, else compile and keep it.

    Args:
        openvino: the module.
        core: `openvino.Core`.
        request: what to compile.
        mode: ``latency`` has all cores work on one image, ``throughput`` one image per stream.

    Raises:
        RuntimeError: OpenVINO's own, for a graph that it doesn't take.
    """
    config = plugin_config(request.threads, mode=mode)
    if request.counts_time:
        config["PERF_COUNT"] = "YES"
    if request.plans is None or request.counts_time:
        return _compile(core, request, config)[0]
    key = _blob_key(openvino, request, config)
    kept = load_blob(request.plans, key, mode=mode)
    imported = None if kept is None else _import(core, kept, config)
    if imported is not None:
        return imported
    compiled, names = _compile(core, request, config)
    problem = store_blob(request.plans, key, _export(compiled, names), mode=mode)
    if problem and request.say:
        request.say(f"openvino: {problem}; the graph is compiled anew at each start")
    return compiled


def count_streams(threads: int | None) -> int:
    """Images that are computed at once in the mode ``throughput``."""
    return max(1, min(threads or usable_cores(), MAX_STREAMS))


def plugin_config(threads: int | None, *, mode: Mode) -> dict[str, str]:
    """The plugin's configuration.

    Left alone the plugin takes one thread per physical core that its affinity allows, the fast
    ones where a processor has two kinds, and knows nothing of a control group's quota. Threads are
    pinned to cores, except under a quota: there the system moves them to where time is left.
    """
    granted = granted_cpus()
    config = {
        "PERFORMANCE_HINT": mode.upper(),
        "NUM_STREAMS": "1" if mode == "latency" else str(count_streams(threads)),
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_HYPER_THREADING": "NO",
        "ENABLE_CPU_PINNING": "YES" if granted is None else "NO",
    }
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    elif granted is not None:
        config["INFERENCE_NUM_THREADS"] = str(usable_cores())
    return config


def _compile(
    core: Any, request: CompileRequest, config: dict[str, str]
) -> tuple[Any, frozenset[str]]:
    """The compiled graph, and the names of its nodes that must not compute in bf16."""
    from engines.cpu.openvino_precision import (
        choose_f32_nodes,
        compile_mixed,
        round_concats_unsigned,
    )

    signed = request.precision == "int8"
    graph = core.read_model(round_concats_unsigned(request.model) if signed else request.model)
    if graph.is_dynamic():
        _, *sizes = graph.input(0).get_partial_shape()
        graph.reshape({0: [1, *sizes]})
    if not request.mixed:
        return core.compile_model(graph, "CPU", config), frozenset()
    names = choose_f32_nodes(graph)
    return compile_mixed(core, graph, config, kept=names), names


def _export(compiled: Any, names: frozenset[str]) -> Blob:
    from engines.cpu.openvino_precision import executes

    exported = compiled.export_model()
    return Blob(
        blob=exported if isinstance(exported, bytes) else exported.getvalue(),
        hint=compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        executes=executes(compiled),
        kept=tuple(sorted(names)),
    )


def _import(core: Any, kept: Blob, config: dict[str, str]) -> Any:
    """The graph as it was compiled; None if the plugin refuses it, or computes it differently."""
    from engines.cpu.openvino_precision import executes, find_low_precision

    try:
        wanted = {**config, "INFERENCE_PRECISION_HINT": kept.hint}
        compiled = core.import_model(io.BytesIO(kept.blob), "CPU", wanted)
    except RuntimeError:
        return None  # compiled again, and said there if that fails too
    if executes(compiled) != kept.executes or find_low_precision(compiled, kept.kept):
        return None
    return compiled


def _blob_key(openvino: Any, request: CompileRequest, config: dict[str, str]) -> BlobKey:
    instructions = " ".join(sorted(cpu_instructions()))
    digest = hashlib.sha256(instructions.encode()).hexdigest()[:16]
    return BlobKey(
        openvino=str(openvino.__version__),
        cpu=f"{cpu_name()}; {usable_cores()} cores; instructions {digest}",
        onnx_sha256=hashlib.sha256(request.model).hexdigest(),
        precision=request.precision,
        config=config,
        recipe=RECIPE,
    )
