"""ONNX to a TensorRT plan: one code path for TensorRT and TensorRT-RTX.

The network is strongly typed: precision is in the graph, and the builder gets no precision flag.
TensorRT 10.3 alone gets a second chance with a weakly typed network, bound to the graph's types;
the plan then says so. Either way the list of the plan's layers is held against the graph.

TensorRT-RTX compiles without a GPU, for any of `RTX_GPUS` of the builder; TensorRT only for the
GPU that is there.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines.batches import takes_any_number, with_batch
from engines.cuda import Gpu
from engines.errors import EngineError
from engines.plans.builder import (
    Target,
    add_profile,
    allow_lower,
    builder_config,
    load_timings,
    note_of_dla,
    save_timings,
    target_from_options,
)
from engines.plans.flavours import RTX, TENSORRT, import_flavour, version_of
from engines.plans.half_between import graph_with_half_between
from engines.plans.layers import Layer, layers_from_inspector, layers_from_log
from engines.plans.log import BuildMessages, quiet_logger
from engines.plans.plan import CompileSettings, Plan, Typing
from engines.plans.precision_proof import prove
from engines.plans.progress import monitor_from_progress
from engines.plans.turing import TURING, graph_for_turing
from engines.plans.whole_head import graph_with_whole_head

WEAK_UNTIL = (10, 3)
"""The last version that may build weakly typed; on it some strongly typed graphs fail."""
DEFAULTS = CompileSettings()
_compiling = threading.Lock()


def compile_plan(
    model: bytes,
    *,
    flavour: str = RTX,
    gpu: Sequence[str] = (),
    settings: CompileSettings = DEFAULTS,
    device: Gpu | None = None,
    progress: Callable[[float], None] | None = None,
) -> Plan:
    """Compile a graph, and prove that the plan computes in the graph's types.

    Args:
        model: serialised ONNX.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        gpu: compute capabilities such as ``sm89``; empty is portable with TensorRT-RTX, and the
            GPU that is there with TensorRT, which knows no other.
        settings: what else the builder is asked for.
        device: the GPU that is current, where TensorRT compiles; None is the first.
        progress: receives the share that is done, from the builder's threads.

    Raises:
        EngineError: the graph takes fewer images at once; the library is missing or takes no part
            of the graph, with its own words; or a heavy layer runs in another precision than the
            graph's, with its name.
    """
    trt = import_flavour(flavour)
    target = target_from_options(flavour, gpu, settings, device)
    most = settings.images
    if most > 1 and not takes_any_number(model):
        raise EngineError(f"{flavour}: this graph takes one image at a time, and not {most}")
    lowered = model if most > 1 else with_batch(model, 1)
    lowered = graph_with_half_between(graph_with_whole_head(lowered))
    if TURING in target.gpu:
        lowered = graph_for_turing(lowered)
    build = _Build(
        trt, model, lowered, target, monitor_from_progress(trt, progress) if progress else None
    )
    # One at a time: what the one logger hears must be this build's, and the memory is shared.
    with _compiling:
        try:
            plan = build.run("strong")
        except _RefusedError as error:
            if flavour != TENSORRT or version_of(trt)[:2] > WEAK_UNTIL:
                raise
            build.notes.append(f"weakly typed, since strongly typed it was refused: {error}")
            plan = build.run("weak")
    return _check_types(plan, lowered)


class _RefusedError(EngineError):
    """The parser or the builder doesn't take the graph this way."""


@dataclass(slots=True)
class _Build:
    """One graph on its way to a plan: as it is, and as TensorRT gets it."""

    trt: Any
    model: bytes
    lowered: bytes
    target: Target
    monitor: Any
    notes: list[str] = field(default_factory=list)

    def run(self, typing: Typing) -> Plan:
        trt, target = self.trt, self.target
        log = quiet_logger(trt)
        with log.collect() as said:
            builder = _create_builder(trt, log, said, target.flavour)
            network = builder.create_network(_strongly_typed(trt) if typing == "strong" else 0)
            _parse(trt, network, self.lowered, log, target.flavour)
            _refuse_what_turing_lacks(trt, network, target.gpu)
            config = builder_config(trt, builder, target)
            if target.settings.images > 1:
                add_profile(builder, network, config, target)
            self._note(note_of_dla(config, network, target))
            if typing == "weak":
                allow_lower(trt, config, network)
            if self.monitor is not None:
                config.progress_monitor = self.monitor
            self._note(load_timings(trt, config, target))
            content = self._serialise(builder, network, config, said)
            self._note(save_timings(trt, config, target))
        rtx = target.flavour == RTX  # tells its layers while it builds; the other one afterwards
        layers = layers_from_log(said.layers) if rtx else _inspect_layers(trt, content, log, target)
        return Plan(
            plan=content,
            flavour=target.flavour,
            version=str(trt.__version__),
            gpu=target.gpu,
            device=target.tuned_for.name if target.tuned_for else "",
            driver=target.tuned_for.driver if target.tuned_for else "",
            onnx_sha256=hashlib.sha256(self.model).hexdigest(),
            layers=layers,
            typing=typing,
            notes=tuple(self.notes),
            **self.target.settings.model_dump(),
        )

    def _serialise(self, builder: Any, network: Any, config: Any, said: BuildMessages) -> bytes:
        built = builder.build_serialized_network(network, config)
        stopped_by = self.monitor.stopped_by if self.monitor is not None else None
        if stopped_by is not None:
            raise stopped_by
        if built is None:
            raise _RefusedError(_failure_reason(self.target, said.text()))
        return bytes(built)

    def _note(self, note: str) -> None:
        if note:
            self.notes.append(note)


def _check_types(plan: Plan, model: bytes) -> Plan:
    """Refuse a plan that isn't what its graph asks for, as far as its layers tell, or note it.

    TensorRT may keep the layers of a fused region to itself; a strongly typed network's types are
    then its word. TensorRT-RTX lists all, and nothing is known of a weakly typed plan otherwise.
    """
    proof = prove(plan.layers, model)
    problem = proof.problem()
    if problem:
        raise EngineError(f"{plan.flavour}: {problem}; build with another --precision")
    if proof.unseen and plan.dla is not None:
        note = f"{len(proof.unseen)} heavy layers are not listed, as those of DLA are not"
        return plan.model_copy(update={"notes": (*plan.notes, note)})
    if proof.unseen and (plan.flavour == RTX or plan.typing == "weak"):
        raise EngineError(
            f"{plan.flavour}: it doesn't list {proof.unseen[0]} among the plan's layers, so that "
            "its precision can't be proven; please report it with the output of `edge doctor`"
        )
    warning = proof.warning()
    return plan.model_copy(update={"notes": (*plan.notes, warning)}) if warning else plan


def _create_builder(trt: Any, log: Any, said: BuildMessages, flavour: str) -> Any:
    try:
        return trt.Builder(log)
    except TypeError as error:  # pybind11's word for a null pointer from the C++ factory
        raise EngineError(f"{flavour}: no builder: {said.text() or error}") from error


def _strongly_typed(trt: Any) -> int:
    # The value behind the name differs between versions, so the name is what counts.
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _parse(trt: Any, network: Any, model: bytes, log: Any, flavour: str) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse(model):
        return
    said = []
    for index in range(parser.num_errors):
        problem = parser.get_error(index)
        node = problem.node_name() if hasattr(problem, "node_name") else ""
        said.append(f"{node}: {problem.desc()}" if node else str(problem.desc()))
    raise _RefusedError(f"{flavour}: it does not take this graph: {_one_line('; '.join(said))}")


def _refuse_what_turing_lacks(trt: Any, network: Any, gpu: Sequence[str]) -> None:
    """Find FP32 matrix products before the builder does.

    It would refuse them for sm75 as well, but TensorRT-RTX 1.7 remembers such a failure: the next
    INT8 graph that the same process compiles, for any GPU, comes out emulated in FP32.
    """
    if TURING not in gpu:
        return
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        product = layer.type == trt.LayerType.MATRIX_MULTIPLY
        if product and layer.get_output(0).dtype == trt.float32:
            raise EngineError(
                f"{RTX}: not compiled for sm75: {layer.name}: Turing has no FP32 MatMul in "
                f"{RTX}; use openvino or {TENSORRT} there"
            )


def _failure_reason(target: Target, said: str) -> str:
    where = ", ".join(target.gpu) or "Ampere and newer"
    hint = ""
    if target.workspace is not None and re.search("memory|workspace", said, re.IGNORECASE):
        hint = f"; the workspace is {target.workspace >> 20} MiB: raise --workspace"
    reason = _one_line(said) or "no reason given"
    return f"{target.flavour}: not compiled for {where}: {reason}{hint}"


def _inspect_layers(trt: Any, plan: bytes, log: Any, target: Target) -> tuple[Layer, ...]:
    """Layers from the inspector, which needs the GPU that the plan is for."""
    deserializer = trt.Runtime(log)
    if target.settings.dla is not None:
        deserializer.DLA_core = target.settings.dla
    if "version" in target.settings.compatible:
        deserializer.engine_host_code_allowed = True  # the plan brings its own small runtime
    engine = deserializer.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{target.flavour}: the new plan does not load: {log.take_errors()}")
    inspector = engine.create_engine_inspector()
    return layers_from_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()[:600]
