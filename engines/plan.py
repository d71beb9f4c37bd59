"""ONNX to a TensorRT plan: one code path for TensorRT and TensorRT-RTX.

The network is strongly typed: precision is in the graph, and the builder gets no precision flag.
TensorRT-RTX compiles without a GPU, for any of `RTX_GPUS`; TensorRT only for the GPU that is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines.cuda import MIB, gpus
from engines.errors import EngineError
from engines.layers import Layer, layers_from_inspector, layers_from_log
from engines.tensorrt_module import RTX, TENSORRT, import_flavour

RTX_GPUS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
Progress = Callable[[str, int, int], None]
"""Receives the phase's name, steps done and steps in all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled graph.

    Attributes:
        plan: what the runtime deserialises; native code.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        version: of the library that compiled it.
        gpu: compute capabilities it is for; empty means Ampere and newer (TensorRT-RTX only).
        onnx_sha256: of the graph.
        layers: what it executes; empty if the library didn't say.
    """

    plan: bytes = field(repr=False)
    flavour: str
    version: str
    gpu: tuple[str, ...]
    onnx_sha256: str
    layers: tuple[Layer, ...] = field(repr=False)


def compile_plan(
    model: bytes,
    *,
    flavour: str = RTX,
    gpu: Sequence[str] = (),
    workspace_mib: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Compile a graph.

    Args:
        model: serialised ONNX.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        gpu: compute capabilities such as ``sm89``; empty is portable with TensorRT-RTX, and the
            GPU that is there with TensorRT, which knows no other.
        workspace_mib: most scratch memory that a kernel may take; None leaves TensorRT's default.
        progress: told about the builder's phases, from its threads.

    Raises:
        EngineError: the library is missing or takes no part of the graph, with its own words.
    """
    trt = import_flavour(flavour)
    targets = _targets(flavour, gpu)
    log = quiet_logger(trt)
    builder = _builder(trt, log, flavour)
    network = builder.create_network(_strongly_typed(trt))
    _parse(trt, network, model, log, flavour)
    _refuse_what_turing_lacks(trt, network, targets)
    config = _config(trt, builder, flavour=flavour, targets=targets, workspace_mib=workspace_mib)
    monitor = _monitor(trt, progress)  # must outlive the build
    if monitor is not None:
        config.progress_monitor = monitor
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise EngineError(_build_failure(flavour, targets, log.told()))
    plan = bytes(built)
    return Plan(
        plan=plan,
        flavour=flavour,
        version=str(trt.__version__),
        gpu=targets,
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        layers=layers_from_log(log.layers) or _inspected(trt, plan, log, flavour),
    )


def _builder(trt: Any, log: Any, flavour: str) -> Any:
    try:
        return trt.Builder(log)
    except TypeError as error:  # pybind11's word for a null pointer from the C++ factory
        raise EngineError(f"{flavour}: no builder: {log.told() or error}") from error


def _targets(flavour: str, gpu: Sequence[str]) -> tuple[str, ...]:
    if flavour != RTX:
        here = gpus()[0].compute_capability
        if tuple(gpu) not in ((), (here,)):
            raise EngineError(f"{flavour}: compiles only for the GPU that is here, {here}")
        return (here,)
    for name in gpu:
        if name not in RTX_GPUS:
            raise EngineError(f"{flavour}: {name} is not one of {', '.join(RTX_GPUS)}")
    if "sm75" in gpu and len(gpu) > 1:
        raise EngineError(
            f"{flavour}: compile sm75 as a plan of its own; together with it, INT8 is emulated "
            "on all the others"
        )
    return tuple(gpu)


def _config(
    trt: Any, builder: Any, *, flavour: str, targets: Sequence[str], workspace_mib: int | None
) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # TF32 is on by default; it would run what the graph says is FP32 with 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib * MIB)
    if flavour == RTX and targets:
        config.num_compute_capabilities = len(targets)
        for index, name in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, name.upper()), index)
    return config


def _strongly_typed(trt: Any) -> int:
    # The value behind the name differs between versions, so the name is what counts.
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _parse(trt: Any, network: Any, model: bytes, log: Any, flavour: str) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse(model):
        return
    told = []
    for index in range(parser.num_errors):
        problem = parser.get_error(index)
        node = problem.node_name() if hasattr(problem, "node_name") else ""
        told.append(f"{node}: {problem.desc()}" if node else str(problem.desc()))
    raise EngineError(f"{flavour}: it does not take this graph: {_line('; '.join(told))}")


def _refuse_what_turing_lacks(trt: Any, network: Any, targets: Sequence[str]) -> None:
    """Find FP32 matrix products before the builder does.

    It would refuse them for sm75 as well, but TensorRT-RTX 1.7 remembers such a failure: the next
    INT8 graph that the same process compiles, for any GPU, comes out emulated in FP32.
    """
    if "sm75" not in targets:
        return
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        product = layer.type == trt.LayerType.MATRIX_MULTIPLY
        if product and layer.get_output(0).dtype == trt.float32:
            raise EngineError(
                f"{RTX}: not compiled for sm75: {layer.name}: Turing has no FP32 MatMul in "
                f"{RTX}; use openvino or {TENSORRT} there"
            )


def _build_failure(flavour: str, targets: Sequence[str], told: str) -> str:
    target = ", ".join(targets) or "Ampere and newer"
    return f"{flavour}: not compiled for {target}: {_line(told) or 'no reason given'}"


def _inspected(trt: Any, plan: bytes, log: Any, flavour: str) -> tuple[Layer, ...]:
    """Layers from the inspector; it needs the GPU, so there are none for other machines' plans."""
    if flavour == RTX:
        return ()
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{flavour}: the new plan does not load: {log.told()}")
    inspector = engine.create_engine_inspector()
    return layers_from_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def quiet_logger(trt: Any) -> Any:
    """A logger that keeps what went wrong and the list of layers, and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)
            elif message.startswith("Layers:"):
                self.layers = message

        def told(self) -> str:
            return "; ".join(dict.fromkeys(self.errors))

    return Log()


def _monitor(trt: Any, progress: Progress | None) -> Any:
    """TensorRT's progress as calls of `progress`; None where there is no such interface."""
    if progress is None or not hasattr(trt, "IProgressMonitor"):
        return None
    tell: Progress = progress

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps
            tell(phase, 0, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            tell(phase, step + 1, self.steps.get(phase, step + 1))
            return True

        def phase_finish(self, phase: str) -> None:
            steps = self.steps.pop(phase, 1)
            tell(phase, steps, steps)

    return Monitor()


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()[:600]
