"""`tensorrt` and `tensorrt_rtx` at run time, on a `FakeGpu`: the attributes of the real ones.

A plan computes map = mean of the channels / 255 and score = its largest value. Like the real
ones it has weights that live with the engine, scratch memory that lives with each context, and
allocates at its first run.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from fake_cuda import Machine
from fake_gpu import Work

PLAN = b"a fake plan"


def expected(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a plan gives for (N, H, W, 3) uint8."""
    maps = images.astype(np.float32).mean(axis=3) / np.float32(255)
    return maps, maps.max(axis=(1, 2))


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
        size: of an image.
    """

    __version__ = "10.3.0"

    def __init__(
        self,
        machine: Any,
        *,
        rtx: bool = False,
        capturable: bool = True,
        batch: int = 1,
        size: tuple[int, int] = (8, 16),
    ) -> None:
        self.machine, self.rtx, self.capturable = machine, rtx, capturable
        self.batch, self.size = batch, size
        self.refuse = 0  # how many of the next runs are refused
        self.refuse_with = 0  # the GPU is lost then, with this error
        self.contexts_made = 0
        self.compiled = 0  # how often kernels were compiled at a first run
        trt = self

        class ILogger:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        class Runtime:
            def __init__(self, log: Any) -> None:
                self.log = log

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                if plan != PLAN:
                    self.log.log(ILogger.ERROR, "the magic tag is wrong")
                    return None
                return trt.engine_for(self)

        self.ILogger, self.Runtime = ILogger, Runtime
        self.TensorIOMode = type("TensorIOMode", (), {"INPUT": "in", "OUTPUT": "out"})
        self.CudaGraphStrategy = type("CudaGraphStrategy", (), {"WHOLE_GRAPH_CAPTURE": "whole"})

    def engine_for(self, runtime: Any) -> Any:
        return (RtxEngine if self.rtx else Engine)(self, runtime)

    def memory(self, owner: Any, size: int) -> int:
        return _memory(owner, self.machine, size)

    def nptype(self, dtype: Named) -> type:
        return np.uint8 if dtype is UINT8 else np.float32


class Engine:
    def __init__(self, trt: FakeTensorRt, runtime: Any) -> None:
        height, width = trt.size
        self.trt, self._runtime = trt, runtime
        self.tensors = {
            "image": ("in", UINT8, (trt.batch, height, width, 3)),
            "anomaly_map": ("out", FLOAT, (trt.batch, height, width)),
            "pred_score": ("out", FLOAT, (trt.batch,)),
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
        return self.tensors[name][2]

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
        self.scratch = self.trt.memory(self, 1024)
        self.warm = False

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self.engine.tensors or not memory:
            return False
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        gpu = self.trt.machine.gpu
        stream = gpu.streams[stream_handle]
        capturing = stream.captured is not None
        refused = self.trt.refuse > 0
        self.trt.refuse -= refused
        if refused and self.trt.refuse_with:
            gpu.lost = self.trt.refuse_with
        if refused or set(self.addresses) != set(self.engine.tensors):
            return self._failed(stream, "it was refused")
        if capturing and not (self.warm and self.trt.capturable):
            return self._failed(stream, "operation not permitted when stream is capturing")
        if not self.warm and self.cache is not None and not self.cache.content:
            self.trt.compiled += 1
            self.cache.content = b"kernels of the fake"
        self.warm = True
        gpu.put(stream_handle, self._work())
        return True

    def _failed(self, stream: Any, why: str) -> bool:
        stream.broken = stream.captured is not None
        self.engine._runtime.log.log(self.trt.ILogger.ERROR, why)
        return False

    def _work(self) -> Work:
        gpu, at = self.trt.machine.gpu, dict(self.addresses)
        tensors = self.engine.tensors
        shapes = {name: shape for name, (_, _, shape) in tensors.items()}
        sizes = {
            name: int(np.prod(shape)) * np.dtype(self.trt.nptype(kind)).itemsize
            for name, (_, kind, shape) in tensors.items()
        }

        def compute() -> None:
            images = gpu.bytes_at(at["image"], sizes["image"]).reshape(shapes["image"])
            for name, values in zip(("anomaly_map", "pred_score"), expected(images), strict=True):
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
