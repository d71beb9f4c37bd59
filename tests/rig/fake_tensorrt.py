"""TensorRT and TensorRT-RTX, played: the attributes of the real modules, and no GPU.

At run time a plan runs on a `fake_gpu.FakeGpu`: map = mean of the channels / 255, score = its
largest value. Like the real ones it has weights that live with the engine, scratch memory that
lives with each context, and allocates at its first run.

Compiling is real: TensorRT-RTX works behind the face of TensorRT 10.3, 10.16 or 11. What it has not
is played: a version, typed flags of 10.x, a timing cache that grows, an inspector of plans, and
strongly typed graphs that 10.3 refuses.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_compiler import Builder, Inspector
from fake_cuda import Machine
from fake_gpu import Work

from engines.gpu.engine import Libraries, TensorRtEngine
from engines.plans.plan import Plan

PLAN = b"a fake plan"
LAYERS_MS = (("conv1", 0.75), ("head", 0.25))  # what each run tells a profiler
FLAGS = ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "VERSION_COMPATIBLE", "GPU_FALLBACK")
OF_COMPILER = (
    "ILogger",
    "IProgressMonitor",
    "LayerType",
    "ProfilingVerbosity",
    "NetworkDefinitionCreationFlag",
    "MemoryPoolType",
    "LayerInformationFormat",
    "HardwareCompatibilityLevel",
    "DeviceType",
    "float32",
    "float16",
)


def expected(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a plan gives for (N, H, W, 3) uint8."""
    maps = images.astype(np.float32).mean(axis=3) / np.float32(255)
    return maps, maps.max(axis=(1, 2))


def same(given: Any, images: np.ndarray) -> bool:
    return all(np.array_equal(*pair) for pair in zip(given, expected(images), strict=True))


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (8, 16)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def fake_plan(plan: bytes = PLAN, flavour: str = "tensorrt") -> Plan:
    return Plan(plan=plan, flavour=flavour, version="10.3.0", gpu=(), onnx_sha256="", layers=())


def opened(machine: Machine, trt: FakeTensorRt | None = None, **options: Any) -> TensorRtEngine:
    """The real engine of a plan on that machine; `options` are its own, and the plan's."""
    known = {name: options.pop(name) for name in ("plan", "flavour") if name in options}
    libraries = Libraries(machine.cuda, trt or FakeTensorRt(machine))
    return TensorRtEngine(fake_plan(**known), libraries=libraries, **options)


@dataclass
class Calls:
    """What the module was asked."""

    strong: list[bool] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    bound: dict[str, str] = field(default_factory=dict)
    workspace: list[int] = field(default_factory=list)
    hardware: list[Any] = field(default_factory=list)
    caches: list[bytes] = field(default_factory=list)
    deserialised: list[bytes] = field(default_factory=list)
    host_code: list[bool] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)
    loaded_on_dla: list[int] = field(default_factory=list)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class IProfiler:
    """As NVIDIA's: told each layer's time after each run that is no graph's."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"DataType.{self.name}"


UINT8, FLOAT = Named("UINT8"), Named("FLOAT")


class FakeTensorRt:
    """The module.

    Args:
        machine: to run on.
        rtx: with a runtime configuration, and contexts that say whether they can be captured.
        capturable: whether a capture of its work succeeds.
        batch: images per call.
        any_number: of them, 1 to the batch, as an optimisation profile says.
        size: of an image.
        version: that it pretends to be.
        compiler: the real `tensorrt_rtx`, to compile with.
        refuses_strong: build no strongly typed network, as 10.3 does with some graphs.
        spoil: changes what the inspector says, layer by layer.
        dla_cores: of the machine.
    """

    ILogger = ILogger
    IProfiler = IProfiler
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")

    def __init__(
        self,
        machine: Any = None,
        *,
        rtx: bool = False,
        capturable: bool = True,
        batch: int = 1,
        any_number: bool = False,
        size: tuple[int, int] = (8, 16),
        version: str = "10.3.0",
        compiler: Any = None,
        refuses_strong: bool = False,
        spoil: Callable[[dict[str, Any]], None] | None = None,
        dla_cores: int = 0,
    ) -> None:
        self.machine, self.rtx, self.capturable = machine, rtx, capturable
        self.batch, self.any_number, self.size = batch, any_number, size
        self.__version__ = version
        self.compiler, self.refuses_strong, self.spoil = compiler, refuses_strong, spoil
        self.calls, self.dla_cores = Calls(), dla_cores
        self.built, self.layers = b"", ""  # the last plan that was compiled, and its layers
        self.refuse = 0  # how many of the next runs are refused
        self.refuse_with = 0  # the GPU is lost then, with this error
        self.contexts_made = 0
        self.compiled = 0  # how often kernels were compiled at a first run
        self.computes: dict[bytes, Callable[[np.ndarray], Any]] = {}  # other plans than `PLAN`
        self.profiles: dict[bytes, int] = {}  # of plans for 1 to so many images
        if compiler is not None:
            for name in OF_COMPILER:
                setattr(self, name, getattr(compiler, name))
            flags = {name: name for name in FLAGS}
            self.BuilderFlag = SimpleNamespace(TF32=compiler.BuilderFlag.TF32, **flags)

    def Builder(self, log: Any) -> Any:  # noqa: N802 - TensorRT's name
        return Builder(self, log)

    def OnnxParser(self, network: Any, log: Any) -> Any:  # noqa: N802
        return self.compiler.OnnxParser(network.real, log)

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        return Runtime(self, log)

    def engine_for(self, runtime: Any, plan: bytes) -> Any:
        return (RtxEngine if self.rtx else Engine)(self, runtime, self.profiles.get(plan))

    def memory(self, owner: Any, size: int) -> int:
        return _memory(owner, self.machine, size)

    def nptype(self, dtype: Named) -> type:
        return np.uint8 if dtype is UINT8 else np.float32


class Runtime:
    def __init__(self, trt: FakeTensorRt, log: Any) -> None:
        self.trt, self.log = trt, log
        self.engine_host_code_allowed = False
        self.DLA_core = -1

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        self.trt.calls.deserialised.append(bytes(plan))
        self.trt.calls.host_code.append(self.engine_host_code_allowed)
        self.trt.calls.loaded_on_dla.append(self.DLA_core)
        if plan == PLAN or plan in self.trt.computes:
            engine = self.trt.engine_for(self, plan)
            engine.compute = self.trt.computes.get(plan, expected)
            return engine
        if plan == self.trt.built and plan:
            return Inspector(self.trt)
        self.log.log(self.trt.ILogger.ERROR, "the magic tag is wrong")
        return None


class Engine:
    compute: Callable[[np.ndarray], Any]

    def __init__(self, trt: FakeTensorRt, runtime: Any, most: int | None) -> None:
        height, width = trt.size
        self.trt, self._runtime = trt, runtime
        self.any_number, batch = trt.any_number or most is not None, most or trt.batch
        self.tensors = {
            "image": ("in", UINT8, (batch, height, width, 3)),
            "anomaly_map": ("out", FLOAT, (batch, height, width)),
            "pred_score": ("out", FLOAT, (batch,)),
        }
        self.num_io_tensors = len(self.tensors)
        self.contexts: weakref.WeakSet[Any] = weakref.WeakSet()
        self.weights = trt.memory(self, 64)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return self.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> Named:
        return self.tensors[name][1]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self.tensors[name][2]
        return (-1, *shape[1:]) if self.any_number else shape

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert index == 0 and self.get_tensor_mode(name) == "in"
        most = self.tensors[name][2]
        return [(1, *most[1:]), most, most]

    def create_execution_context(self, config: Any = None) -> Any:
        context = (RtxContext if self.trt.rtx else Context)(self, config)
        self.trt.contexts_made += 1
        return context


class RtxEngine(Engine):
    def create_runtime_config(self) -> Any:
        return RuntimeConfig()


class RuntimeConfig:
    cuda_graph_strategy = "disabled"
    cache: Any = None

    def create_runtime_cache(self) -> Any:
        return RuntimeCache()

    def set_runtime_cache(self, cache: Any) -> bool:
        self.cache = cache
        return True


class RuntimeCache:
    """Kernels that contexts compile at their first run, and don't where they find them here."""

    def __init__(self) -> None:
        self.content = b""

    def serialize(self) -> Any:
        return memoryview(self.content)

    def deserialize(self, blob: bytes) -> bool:
        self.content = blob if blob.startswith(b"kernels") else b""
        return bool(self.content)


class Context:
    def __init__(self, engine: Engine, config: Any) -> None:
        self.engine, self.trt = engine, engine.trt
        self.strategy = getattr(config, "cuda_graph_strategy", None)
        self.cache = getattr(config, "cache", None)
        self.addresses: dict[str, int] = {}
        self.count = 0 if engine.any_number else self.trt.batch  # 0: nobody has said it yet
        self.scratch = self.trt.memory(self, 1024)
        self.warm = False
        self.profiler: Any = None

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self.engine.tensors or not memory:
            return False
        self.addresses[name] = memory
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        most = self.engine.tensors[name][2]
        taken = self.engine.any_number and 1 <= shape[0] <= most[0] and shape[1:] == most[1:]
        self.count = shape[0] if taken else self.count
        self.warm = False  # another shape has kernels of its own
        return taken

    def execute_async_v3(self, stream_handle: int) -> bool:
        gpu = self.trt.machine.gpu
        stream = gpu.streams[stream_handle]
        capturing = stream.captured is not None
        refused = self.trt.refuse > 0
        self.trt.refuse -= refused
        if refused and self.trt.refuse_with:
            gpu.lost = self.trt.refuse_with
        if refused or set(self.addresses) != set(self.engine.tensors) or not self.count:
            return self._failed(stream, "it was refused")
        if capturing and not (self.warm and self.trt.capturable):
            return self._failed(stream, "operation not permitted when stream is capturing")
        if not self.warm and self.cache is not None and not self.cache.content:
            self.trt.compiled += 1
            self.cache.content = b"kernels of the fake"
        self.warm = True
        if self.profiler is not None and not capturing:
            for name, ms in LAYERS_MS:
                self.profiler.report_layer_time(name, ms)
        gpu.put(stream_handle, self._work())
        return True

    def _failed(self, stream: Any, why: str) -> bool:
        stream.broken = stream.captured is not None
        self.engine._runtime.log.log(self.trt.ILogger.ERROR, why)
        return False

    def _work(self) -> Work:
        gpu, at = self.trt.machine.gpu, dict(self.addresses)
        tensors = self.engine.tensors
        shapes = {name: (self.count, *shape[1:]) for name, (_, _, shape) in tensors.items()}
        sizes = {
            name: int(np.prod(shapes[name])) * np.dtype(self.trt.nptype(kind)).itemsize
            for name, (_, kind, _) in tensors.items()
        }

        giving = self.engine.compute  # a captured graph keeps no context alive

        def compute() -> None:
            images = gpu.bytes_at(at["image"], sizes["image"]).reshape(shapes["image"])
            for name, values in zip(("anomaly_map", "pred_score"), giving(images), strict=True):
                gpu.bytes_at(at[name], sizes[name])[:] = values.reshape(-1).view(np.uint8)

        reads = [(at["image"], sizes["image"]), (self.engine.weights, 64)]
        writes = [(at[name], sizes[name]) for name in ("anomaly_map", "pred_score")]
        return Work("the plan", reads, [*writes, (self.scratch, 1024)], compute)


class RtxContext(Context):
    def is_stream_capturable(self, stream: int) -> bool:
        return self.trt.capturable


def _memory(owner: Any, machine: Machine, size: int) -> int:
    """Memory of the GPU that goes when its owner does."""
    context = machine.here
    block = machine.gpu.allocate(size, "device", context)

    def free() -> None:
        try:
            if machine.gpu.lost == 0 and block.address in machine.gpu.blocks:
                machine.gpu.free(block.address, ("device",), context)
        except AssertionError as error:
            machine.gpu.complaints.append(str(error))

    weakref.finalize(owner, free).atexit = False
    return block.address
