"""What TensorRT's builder gets besides the graph: targets, memory, timings, compatibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.cuda import MIB, Gpu, call, gpus, runtime
from engines.errors import EngineError
from engines.plans.caches import read_cache, timing_path, write_cache
from engines.plans.flavours import RTX, TENSORRT, architecture
from engines.plans.plan import CompileSettings

RTX_GPUS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
PORTABLE_FROM = 80
"""Compute capability from which on a portable plan runs: Ampere."""
ORIN = "sm87"
MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan is compiled for.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        gpu: compute capabilities; empty is Ampere and newer.
        device: the GPU that compiles; None with TensorRT-RTX, which needs none.
        workspace: most scratch memory of a kernel in bytes; None leaves TensorRT's default.
        settings: what else was asked for.
    """

    flavour: str
    gpu: tuple[str, ...]
    device: Gpu | None
    workspace: int | None
    settings: CompileSettings

    @property
    def tuned_for(self) -> Gpu | None:
        """The only GPU that the plan is for; None if it is for others as well."""
        return None if "hardware" in self.settings.compatible else self.device


def target_from_options(
    flavour: str, gpu: Sequence[str], settings: CompileSettings, device: Gpu | None = None
) -> Target:
    """What a plan is to be compiled for, checked.

    Args:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        gpu: compute capabilities such as ``sm89``.
        settings: what else is asked for; never more scratch memory than what is free is given.
        device: the GPU that is current, where TensorRT compiles; None is the first.

    Raises:
        EngineError: the flavour cannot compile for it, or there is no GPU.
    """
    mib = settings.workspace_mib
    if mib is not None and mib < 1:
        raise EngineError(f"{flavour}: a workspace of {mib} MiB; give 1 or more")
    asked = None if mib is None else mib * MIB
    if flavour == RTX:
        _check_rtx(gpu, settings)
        kept = settings.model_copy(update={"compatible": ()})
        return Target(RTX, tuple(gpu), None, asked, kept)
    device = device or gpus()[0]
    here = device.compute_capability
    if tuple(gpu) not in ((), (here,)):
        raise EngineError(f"{flavour}: compiles only for the GPU that is here, {here}")
    _check_dla(flavour, device, settings)
    targets = () if _is_portable(flavour, device, settings) else (here,)
    unique = tuple(dict.fromkeys(settings.compatible))
    kept = settings.model_copy(update={"compatible": unique})
    return Target(flavour, targets, device, _workspace(asked, device), kept)


def _is_portable(flavour: str, device: Gpu, settings: CompileSettings) -> bool:
    """Whether a plan of TensorRT is to be for other GPUs too, if that can be."""
    here, portable = device.compute_capability, "hardware" in settings.compatible
    if portable and device.integrated:
        raise EngineError(
            f"{flavour}: on a Jetson no plan is for other GPUs too, which is NVIDIA's rule for "
            "JetPack; leave that out, and compile on each machine"
        )
    if portable and architecture(here) < PORTABLE_FROM:
        raise EngineError(
            f"{flavour}: {here} is older than Ampere (sm{PORTABLE_FROM}), from which on plans can "
            "be hardware-compatible; leave that out"
        )
    return portable


def _check_dla(flavour: str, device: Gpu, settings: CompileSettings) -> None:
    if settings.dla is None:
        return
    if not device.integrated or device.compute_capability != ORIN:
        raise EngineError(
            f"{flavour}: {device.name} has no DLA, a Jetson Orin has; leave out --dla"
        )
    if settings.compatible:
        raise EngineError(
            f"{flavour}: a plan for DLA is for this machine and this TensorRT alone; leave out "
            "--dla, or the compatibility"
        )


def _check_rtx(gpu: Sequence[str], settings: CompileSettings) -> None:
    if settings.dla is not None:
        raise EngineError(f"{RTX}: it has no DLA; TensorRT has, on a Jetson Orin: leave out --dla")
    for name in gpu:
        if name not in RTX_GPUS:
            raise EngineError(_no_rtx(name))
    if "sm75" in gpu and len(gpu) > 1:
        raise EngineError(
            f"{RTX}: compile sm75 as a plan of its own; together with it, INT8 is emulated "
            "on all the others"
        )
    if "version" in settings.compatible:
        raise EngineError(
            f"{RTX}: its plans load with the version alone that compiled them; they are compiled "
            "again in seconds"
        )
    if "hardware" in settings.compatible and gpu:
        raise EngineError(
            f"{RTX}: a plan for {', '.join(gpu)} is for nothing else; without a GPU's name it "
            "runs on Ampere and newer"
        )


def _no_rtx(name: str) -> str:
    other = "TensorRT serves it, on the machine itself" if architecture(name) else "no such GPU"
    return f"{RTX}: {name} is not one of {', '.join(RTX_GPUS)}; {other}"


def _workspace(asked: int | None, device: Gpu) -> int | None:
    """Scratch memory in bytes: what was asked for, or half of what is free where it is shared.

    TensorRT's own default is all of the GPU's memory. On a Jetson that is the computer's, and a
    tactic that takes most of it ends the process, or the camera's.
    """
    if asked is None and not device.integrated:
        return None
    free = _free_shared() if device.integrated else int(call(runtime().cudaMemGetInfo)[0])
    return min(asked, free) if asked is not None else free // 2


def _free_shared() -> int:
    """What Linux can give without swapping; CUDA counts no memory that the page cache holds."""
    for line in MEMORY.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise EngineError(f"{MEMORY} tells no MemAvailable; give --workspace a limit in MiB")


def builder_config(trt: Any, builder: Any, target: Target) -> Any:
    """A configuration for a strongly typed network.

    Raises:
        EngineError: a GPU or a core of DLA that this version of the library refuses.
    """
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # TF32 is on by default; it would run what the graph says is FP32 with 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if target.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, target.workspace)
    if target.settings.optimization_level is not None:
        config.builder_optimization_level = target.settings.optimization_level
    if target.settings.dla is not None:
        _use_dla(trt, builder, config, target.settings.dla)
    if "version" in target.settings.compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if "hardware" in target.settings.compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if target.flavour == RTX:
        # All scratch memory is ours then, without which no stream can be captured.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if target.flavour == RTX and target.gpu:
        _aim(trt, config, target.gpu)
    return config


def _use_dla(trt: Any, builder: Any, config: Any, core: int) -> None:
    """Have a core of DLA take each layer that it can, and the GPU the others."""
    cores = int(builder.num_DLA_cores)
    if core >= cores:
        others = f"it sees {', '.join(map(str, range(cores)))}" if cores else "it sees none here"
        raise EngineError(
            f"{TENSORRT} {trt.__version__}: no DLA core {core}: {others}; an Orin Nano has none, "
            "and not every TensorRT serves them"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def note_of_dla(config: Any, network: Any, target: Target) -> str:
    """How much of a network DLA takes; empty where it isn't asked for.

    Raises:
        EngineError: nothing of it.
    """
    if target.settings.dla is None:
        return ""
    layers = int(network.num_layers)
    taken = sum(bool(config.can_run_on_DLA(network.get_layer(index))) for index in range(layers))
    if not taken:
        raise EngineError(
            f"{target.flavour}: DLA takes none of the graph's {layers} layers; build with "
            "--precision fp16, or leave out --dla"
        )
    return f"DLA core {target.settings.dla} can take {taken} of {layers} layers, the GPU the rest"


def add_profile(builder: Any, network: Any, config: Any, target: Target) -> None:
    """Let a network of any number of images take 1 to what is asked for, quickest with all.

    Raises:
        EngineError: the library refuses so many.
    """
    image, most = network.get_input(0), target.settings.images
    sizes = tuple(int(length) for length in image.shape)[1:]
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, (1, *sizes), (most, *sizes), (most, *sizes))
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"{target.flavour}: it takes no {most} images at once")


def _aim(trt: Any, config: Any, names: Sequence[str]) -> None:
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        capability = getattr(trt.ComputeCapability, name.upper(), None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise EngineError(f"{RTX} {trt.__version__} does not compile for {name}; update it")


def allow_lower(trt: Any, config: Any, network: Any) -> None:
    """Make a weakly typed build keep to the graph's types: TensorRT 10.3's fallback.

    Each layer is bound to the type that it has in the graph, so that what the graph keeps in
    FP32 isn't lowered with the rest. Layers that only move or store data are left alone.
    """
    kinds = {network.get_layer(index).type for index in range(network.num_layers)}
    config.set_flag(trt.BuilderFlag.FP16)
    if trt.LayerType.QUANTIZE in kinds:
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    computing = (
        trt.LayerType.CONVOLUTION,
        trt.LayerType.MATRIX_MULTIPLY,
        trt.LayerType.ELEMENTWISE,
        trt.LayerType.UNARY,
        trt.LayerType.REDUCE,
        trt.LayerType.POOLING,
        trt.LayerType.ACTIVATION,
        trt.LayerType.RESIZE,
        trt.LayerType.SOFTMAX,
    )
    quantised = _reads_quantised(trt, network)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.get_output(0).dtype
        if layer.type in computing and index not in quantised and kind in _floats(trt):
            layer.precision = kind
            layer.set_output_type(0, kind)


def _reads_quantised(trt: Any, network: Any) -> set[int]:
    """Layers behind a DequantizeLinear: INT8 by their place, and not to be bound to a float."""
    dequantised = set()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.DEQUANTIZE:
            dequantised.add(layer.get_output(0).name)
    found = set()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        names = {layer.get_input(place).name for place in range(layer.num_inputs)}
        if names & dequantised:
            found.add(index)
    return found


def _floats(trt: Any) -> tuple[Any, Any]:
    return trt.float32, trt.float16


def load_timings(trt: Any, config: Any, target: Target) -> str:
    """Give the builder what earlier builds have timed; returns a note if it can't be had."""
    if target.device is None:
        return ""  # TensorRT-RTX, whose builder times nothing
    content, note, path = b"", "", None
    try:
        path = _timing_path(trt, target.device)
        content = read_cache(path)
    except OSError as error:
        note = f"the timing cache cannot be read: {error.strerror}: {path or error.filename}"
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        # TensorRT refuses a damaged cache, and one of another version or GPU: begin anew.
        note = note or f"the timing cache was refused, and is made anew: {path}"
        config.set_timing_cache(config.create_timing_cache(b""), False)
    return note


def save_timings(trt: Any, config: Any, target: Target) -> str:
    """Keep what was timed; returns a note if it can't be kept."""
    cache = config.get_timing_cache() if target.device is not None else None
    if target.device is None or cache is None:
        return ""
    path = None
    try:
        path = _timing_path(trt, target.device)
        write_cache(path, bytes(cache.serialize()))
    except OSError as error:
        return f"the timing cache is not kept: {error.strerror}: {path or error.filename}"
    return ""


def _timing_path(trt: Any, gpu: Gpu) -> Path:
    return timing_path(flavour=TENSORRT, version=str(trt.__version__), gpu=gpu.name)
