"""Which engine runs a graph here, and why not a better one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata

from engines.engine import Engine, EngineOptions
from engines.errors import EngineError
from engines.installing import how_to_get_rtx, how_to_get_tensorrt

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Backend:
    """One kind of engine.

    Attributes:
        unavailable_reason: why it can't work here, or None; quick, and never raises.
        open: makes one from serialised ONNX; raises `EngineError`.
        how_to_get: what to do on this machine to have it.
    """

    unavailable_reason: Callable[[], str | None]
    open: Callable[[bytes, EngineOptions], Engine]
    how_to_get: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that was chosen.

    Attributes:
        name: key in `ENGINES`.
        reason: one sentence: why this one, and why none of those before it.
        device: number of the GPU that was asked for; None leaves it to the engine.
    """

    name: str
    reason: str
    device: int | None = None

    @property
    def address(self) -> str:
        """What chooses the same engine again."""
        return engine_on(self.name, self.device)


def engine_on(engine: str, device: int | None) -> str:
    """An engine on the GPU of that number, as `choose_engine` takes it; None leaves it open."""
    return engine if device is None else f"{engine}:{device}"


def choose_engine(engine: str = AUTO) -> Choice:
    """Choose an engine: the one that was asked for, or the first of `ENGINES` that works here.

    Args:
        engine: key in `ENGINES`, or ``auto``; ``tensorrt:1`` and ``auto:1`` ask for GPU 1.

    Raises:
        EngineError: unknown name, or the engine that was asked for can't work here.
    """
    engine, _, number = engine.partition(":")
    if number:
        return _choose_gpu(engine, number)
    if engine != AUTO:
        return _choose_by_name(engine)
    passed_over: list[str] = []
    for name, backend in ENGINES.items():
        problem = backend.unavailable_reason()
        if problem is None:
            because = "; ".join(passed_over) or "it is the fastest that this machine can have"
            return Choice(name, f"{name}: {because}")
        passed_over.append(problem)
    raise EngineError(f"no engine works here: {'; '.join(passed_over)}; pip install onnxruntime")


def open_engine(model: bytes, *, engine: str = AUTO, options: EngineOptions) -> Engine:
    """Open an engine on a graph.

    Args:
        model: serialised ONNX; input `image` uint8 (N, H, W, 3), fixed sizes.
        engine: as `choose_engine` takes it.
        options: what it is opened with.

    Raises:
        EngineError: the engine can't work here, or doesn't take the graph. ``auto`` does not try
            the next one then: what was chosen is what runs.
    """
    chosen = choose_engine(engine)
    return ENGINES[chosen.name].open(model, replace(options, device=chosen.device))


def _choose_gpu(engine: str, number: str) -> Choice:
    """Choose among the engines that run on a GPU; a CPU is never what was meant."""
    from engines.plans.flavours import MODULES

    if engine not in (AUTO, *ENGINES):
        raise EngineError(_unknown(engine))
    if engine not in (AUTO, *MODULES):
        raise EngineError(f"device {number}: {engine} runs on the CPU; leave --device out")
    if not number.isdecimal():
        raise EngineError(f"{engine}:{number}: a GPU has a number, such as {engine}:0")
    passed_over: list[str] = []
    for name in MODULES if engine == AUTO else (engine,):
        problem = _tensorrt_unavailable_reason(name, int(number))
        if problem is None:
            return Choice(name, f"{name}: GPU {number} was asked for", int(number))
        passed_over.append(problem)
    problems = "; ".join(dict.fromkeys(passed_over))
    raise EngineError(f"device {number}: {problems}; without --device a CPU may take its place")


def _unknown(engine: str) -> str:
    return f"{engine}: no such engine; choose {AUTO}, {', '.join(ENGINES)}"


def _choose_by_name(engine: str) -> Choice:
    if engine not in ENGINES:
        raise EngineError(_unknown(engine))
    backend = ENGINES[engine]
    problem = backend.unavailable_reason()
    if problem is not None:
        raise EngineError(f"cannot use {engine}: {problem}; {backend.how_to_get()}")
    return Choice(engine, f"{engine}: it was asked for")


def installed_version(distribution: str) -> str:
    """Version of an installed distribution, empty if it has no metadata."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _module_unavailable_reason(module: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    return None


def _tensorrt_unavailable_reason(flavour: str, device: int = 0) -> str | None:
    """A TensorRT needs its module, a GPU that answers, and a GPU of the right architecture."""
    from engines.cuda import gpus
    from engines.plans.flavours import MODULES, import_flavour, unsupported_gpu_reason

    if importlib.util.find_spec(MODULES[flavour]) is None:
        return f"{flavour} is not installed"

    try:
        found = gpus()
        import_flavour(flavour)
    except EngineError as error:
        version = installed_version(flavour)
        return f"{flavour} {version}".rstrip() + f" is installed, but {error}"
    if device >= len(found):
        there = ", ".join(f"{gpu.index} {gpu.name}" for gpu in found)
        return f"there is no GPU {device} here, but {there}"
    return unsupported_gpu_reason(flavour, found[device].compute_capability)


def _open_tensorrt(flavour: str, model: bytes, options: EngineOptions) -> Engine:
    from engines.gpu.context import Home
    from engines.gpu.engine import TensorRtEngine
    from engines.gpu.reopen import ReopeningEngine

    home = None if options.device is None else Home(options.device)

    def open_tensorrt(progress: Callable[[float], None] | None) -> TensorRtEngine:
        nonlocal home
        engine = TensorRtEngine.from_model(
            model, flavour=flavour, options=replace(options, progress=progress), home=home
        )
        home = engine.home
        return engine

    return ReopeningEngine(open_tensorrt, say=options.say, progress=options.progress)


def _open_openvino(model: bytes, options: EngineOptions) -> Engine:
    from engines.cpu.openvino import OpenVinoEngine

    return OpenVinoEngine(
        model,
        precision=options.precision,
        threads=options.threads,
        plans=options.plans,
        say=options.say,
        tell_layer=options.tell_layer,
    )


def _open_onnxruntime(model: bytes, options: EngineOptions) -> Engine:
    from engines.cpu.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(
        model,
        precision=options.precision,
        threads=options.threads,
        tell_layer=options.tell_layer,
    )


ENGINES: dict[str, Backend] = {
    "tensorrt": Backend(
        unavailable_reason=lambda: _tensorrt_unavailable_reason("tensorrt"),
        open=partial(_open_tensorrt, "tensorrt"),
        how_to_get=how_to_get_tensorrt,
    ),
    "tensorrt-rtx": Backend(
        unavailable_reason=lambda: _tensorrt_unavailable_reason("tensorrt-rtx"),
        open=partial(_open_tensorrt, "tensorrt-rtx"),
        how_to_get=how_to_get_rtx,
    ),
    "openvino": Backend(
        unavailable_reason=lambda: _module_unavailable_reason("openvino"),
        open=_open_openvino,
        how_to_get=lambda: "pip install 'protoedge[cpu]'",
    ),
    "onnxruntime": Backend(
        unavailable_reason=lambda: _module_unavailable_reason("onnxruntime"),
        open=_open_onnxruntime,
        how_to_get=lambda: "pip install onnxruntime",
    ),
}
"""All engines, best first."""
