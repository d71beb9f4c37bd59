"""A plan that is loaded, and its execution contexts: all that is called of TensorRT at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.cuda import Cuda
from engines.engine import LayerTime
from engines.errors import EngineError
from engines.plans.caches import kernels_path, read_kernels, write_kernels
from engines.plans.layers import Layer
from engines.plans.plan import Plan, UnloadablePlanError


@dataclass(frozen=True, slots=True)
class Tensor:
    """A graph's input or output.

    Attributes:
        name: in the graph.
        shape: fixed; first the images that it holds, the most that the plan takes at once.
        dtype: its type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: npt.DTypeLike


class LoadedPlan:
    """A deserialised plan; what runs it comes from `execution`.

    Args:
        plan: checked before: deserialising runs its code.
        trt: the module `tensorrt` or `tensorrt_rtx`.
        log: from `engines.plans.log.quiet_logger`.
        cuda: the libraries; the engine's context is current in all calls.
        together: images that are computed at once, at most, of those that the plan takes.

    Attributes:
        image: the graph's only input.
        image_type: its type, in TensorRT's words.
        outputs: in the graph's order.
        counts: of images that are computed at once, the least first; any other is filled up.

    Raises:
        UnloadablePlanError: the library does not take the plan.
        EngineError: it takes another input than one image.
    """

    def __init__(self, plan: Plan, *, trt: Any, log: Any, cuda: Cuda, together: int = 1) -> None:
        self._trt, self._log, self._cuda = trt, log, cuda
        self._name = plan.flavour
        self._layers = {layer.name: layer for layer in plan.layers}
        self._runtime: Any = trt.Runtime(log)
        if plan.dla is not None:
            self._runtime.DLA_core = plan.dla
        if "version" in plan.compatible:
            self._runtime.engine_host_code_allowed = True  # such a plan brings its own runtime
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan.plan)
        if self._engine is None:
            raise UnloadablePlanError(f"{self._name}: the plan does not load: {log.take_errors()}")
        self._config = _runtime_config(self._engine)
        self._kernels: _Kernels | None = _Kernels(plan, self._config)
        self._own_graph = False
        tensors = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [name for name in tensors if self._is_input(name)]
        if len(inputs) != 1:
            raise EngineError(
                f"{self._name}: the graph has {len(inputs)} inputs, not `image` alone; export it "
                "again with `edge build`"
            )
        fixed = int(self._engine.get_tensor_shape(inputs[0])[0])
        self._sets_count = fixed < 1
        self._batch = self._most(inputs[0], together) if self._sets_count else fixed
        self.counts = sorted({1, self._batch}) if self._sets_count else [fixed]
        self.image_type = str(self._engine.get_tensor_dtype(inputs[0]))
        self.image = Tensor(inputs[0], self._shape(inputs[0]), np.uint8)
        self.outputs = [
            Tensor(name, self._shape(name), trt.nptype(self._engine.get_tensor_dtype(name)))
            for name in tensors
            if name not in inputs
        ]

    def execution(
        self, count: int, tell_layer: Callable[[LayerTime], None] | None = None
    ) -> TensorRtExecution:
        """A new execution context, with scratch memory of its own.

        Args:
            count: of images, one of `counts`.
            tell_layer: receives each layer's time of each run, which no CUDA graph tells.

        Raises:
            EngineError: no memory for it.
        """
        context = self._context(count)
        if not self._own_graph and self._config is not None and not self._capturable(context):
            self._own_graph = True
            self._config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = None  # before the next one takes as much memory again
            context = self._context(count)
        problem = (
            f"{self._name} captures this plan in a graph of its own" if self._own_graph else ""
        )
        if tell_layer is not None:
            context.profiler = _profiler(self._trt, self._layers, tell_layer)
            problem = f"{self._name}: the layers are timed"
        return TensorRtExecution(
            context, log=self._log, cuda=self._cuda, name=self._name, capture_problem=problem
        )

    def keep_kernels(self) -> str:
        """Keep what was compiled at the first runs for the next start.

        Returns:
            Why it can't be kept; empty if it is, or if there is nothing to keep.
        """
        return self._kernels.keep() if self._kernels is not None else ""

    def close(self) -> None:
        """Release the plan, after all executions; a second call does nothing."""
        # Each refers to the one after it.
        self._config = None
        self._kernels = None
        self._engine = None
        self._runtime = None

    def _context(self, count: int) -> Any:
        if self._config is None:
            context = self._engine.create_execution_context()
        else:
            context = self._engine.create_execution_context(self._config)
        if context is None:
            raise EngineError(f"{self._name}: no memory for the plan: {self._log.take_errors()}")
        shape = (count, *self.image.shape[1:])
        if self._sets_count and not context.set_input_shape(self.image.name, shape):
            said = self._log.take_errors()
            raise EngineError(f"{self._name}: the plan takes no {count} images at once: {said}")
        return context

    def _capturable(self, context: Any) -> bool:
        """Whether the context's work can be part of our graph; TensorRT-RTX alone has to be asked.

        It can unless the plan allocates at run time.
        """
        stream = self._cuda.run(
            "cudaStreamCreateWithFlags", self._cuda.runtime.cudaStreamNonBlocking
        )
        try:
            return bool(context.is_stream_capturable(int(stream)))
        finally:
            self._cuda.run("cudaStreamDestroy", stream)

    def _most(self, image: str, together: int) -> int:
        """How many images are computed at once, of those that the plan's profile allows."""
        _, _, most = self._engine.get_tensor_profile_shape(image, 0)
        return max(1, min(together, int(most[0])))

    def _shape(self, name: str) -> tuple[int, ...]:
        _, *sizes = self._engine.get_tensor_shape(name)
        return (self._batch, *(int(length) for length in sizes))

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT)


class TensorRtExecution:
    """An execution context: what computes between upload and download of one slot.

    Args:
        context: TensorRT's.
        log: of the plan.
        cuda: the libraries.
        name: the engine's, for messages.
        capture_problem: why it can't be part of a CUDA graph; empty if it can.
    """

    def __init__(
        self, context: Any, *, log: Any, cuda: Cuda, name: str, capture_problem: str
    ) -> None:
        self._context = context
        self._log = log
        self._cuda = cuda
        self._name = name
        self.capture_problem = capture_problem

    def bind(self, name: str, address: int) -> None:
        """Say where a tensor is on the GPU, from the next `enqueue` on.

        Raises:
            EngineError: the address was refused.
        """
        if not self._context.set_tensor_address(name, address):
            raise self._error(f"the address of {name} was refused")

    def enqueue(self, stream: int) -> None:
        """Put the computation on a stream.

        Raises:
            EngineError: it was refused.
        """
        if self._context.execute_async_v3(stream):
            return
        none = self._cuda.runtime.cudaStreamCaptureStatus.cudaStreamCaptureStatusNone
        if self._cuda.run("cudaStreamIsCapturing", stream) == none:
            # TensorRT tells of a lost device in words alone; CUDA knows it for sure.
            self._cuda.run("cudaStreamSynchronize", stream)
        raise self._error("the plan did not run")

    def close(self) -> None:
        """Release it, before the memory that it uses; a second call does nothing."""
        self._context = None

    def _error(self, what: str) -> EngineError:
        """With what TensorRT said since it was last asked."""
        return EngineError(f"{self._name}: {what}: {self._log.take_errors() or 'no reason given'}")


def _profiler(
    trt: Any, layers: Mapping[str, Layer], tell_layer: Callable[[LayerTime], None]
) -> Any:
    """TensorRT's profiler, told after each run; the class exists only once TensorRT is there.

    Args:
        trt: the module.
        layers: of the plan, by name; their kinds and kernels are told with the times.
        tell_layer: receives the times, from GPU events.
    """

    def report_layer_time(_self: object, layer_name: str, ms: float) -> None:
        layer = layers.get(layer_name)
        kind, kernel = (layer.kind, layer.tactic) if layer else ("", "")
        tell_layer(LayerTime(layer_name, kind, kernel, float(ms)))

    return type("Profiler", (trt.IProfiler,), {"report_layer_time": report_layer_time})()


def _runtime_config(engine: Any) -> Any:
    """TensorRT-RTX's settings of a context; None with TensorRT, which has no such choice."""
    if not hasattr(engine, "create_runtime_config"):
        return None
    config = engine.create_runtime_config()
    return config if hasattr(config, "cuda_graph_strategy") else None


class _Kernels:
    """TensorRT-RTX's cache of kernels, filled from what was kept; none with TensorRT.

    Args:
        plan: that they are for.
        runtime_config: gets the cache; None with TensorRT.
    """

    def __init__(self, plan: Plan, runtime_config: Any) -> None:
        self._cache: Any = None
        self._before = b""
        self._problem = ""
        if runtime_config is None:
            return
        self._path = kernels_path(plan.plan, flavour=plan.flavour, version=plan.version)
        self._cache = runtime_config.create_runtime_cache()
        try:
            self._before = read_kernels(self._path)
        except OSError as error:
            self._problem = f"{error.strerror}: {error.filename}"
        if self._before and not self._cache.deserialize(self._before):
            self._before = b""  # of another driver, say: they are compiled and kept again
        runtime_config.set_runtime_cache(self._cache)

    def keep(self) -> str:
        if self._cache is None or self._problem:
            return self._problem
        kernels = bytes(self._cache.serialize())
        if kernels == self._before:
            return ""
        try:
            write_kernels(self._path, kernels)
        except OSError as error:
            return f"{error.strerror}: {error.filename}"
        self._before = kernels
        return ""
