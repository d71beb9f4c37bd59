"""TensorRT and TensorRT-RTX on an NVIDIA GPU: one class, one stream, buffers allocated once."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from engines.batches import Signature, check_images, run_in_batches, signature_from_input
from engines.cuda import call, gpus, runtime
from engines.engine import Images, Output, Precision
from engines.errors import EngineError
from engines.layers import executes
from engines.plan import Plan, quiet_logger
from engines.tensorrt_compile import plan_for
from engines.tensorrt_module import import_flavour, why_not_on


@dataclass(frozen=True, slots=True)
class Buffer:
    """One tensor of the graph: pinned host memory and its twin on the device.

    Attributes:
        name: the tensor's.
        host: view of the pinned memory, in the tensor's shape and type.
        device: address on the GPU.
    """

    name: str
    host: Output
    device: int


class TensorRtEngine:
    """A graph as a TensorRT plan, ready to run.

    Args:
        model: serialised ONNX, input `image` uint8 (N, H, W, 3).
        precision: of the graph; a plan that doesn't execute it is refused.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        plans: folder that keeps the plan; None compiles anew each time.
        say: receives a line when a plan is compiled, with the reason.

    Raises:
        EngineError: no library, no GPU, or it doesn't take the graph.
    """

    def __init__(
        self,
        model: bytes,
        *,
        precision: Precision,
        flavour: str,
        plans: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.name = flavour
        self._resources = ExitStack()
        self._context: Any = None
        gpu = gpus()[0]
        problem = why_not_on(flavour, gpu.compute_capability)
        if problem:
            raise EngineError(problem)
        plan = plan_for(model, flavour=flavour, precision=precision, gpu=gpu, plans=plans, say=say)
        self.device = gpu.name
        self.executes = executes(plan.layers)
        try:
            self._open(plan)
        except BaseException:
            self.close()
            raise

    def _open(self, plan: Plan) -> None:
        cudart = self._cudart = runtime()
        call(cudart.cudaSetDevice, 0)
        trt = import_flavour(self.name)
        log = quiet_logger(trt)
        deserializer = trt.Runtime(log)
        engine = deserializer.deserialize_cuda_engine(plan.plan)
        if engine is None:
            raise EngineError(f"{self.name}: the plan does not load: {log.told()}")
        context = engine.create_execution_context()
        if context is None:
            raise EngineError(f"{self.name}: no memory for the plan: {log.told()}")
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if _is_input(trt, engine, name)]
        if len(inputs) != 1:
            raise EngineError(f"{self.name}: the graph has {len(inputs)} inputs, not `image` alone")
        outputs = [name for name in names if name not in inputs]
        self._signature: Signature = signature_from_input(
            inputs[0],
            dtype=str(engine.get_tensor_dtype(inputs[0])),
            shape=list(engine.get_tensor_shape(inputs[0])),
            outputs=outputs,
            where=self.name,
        )
        self.outputs: Sequence[str] = self._signature.outputs
        self.size = self._signature.size
        self._stream = call(cudart.cudaStreamCreate)
        self._resources.callback(call, cudart.cudaStreamDestroy, self._stream)
        self._input = self._buffer(trt, engine, inputs[0])
        self._given = [self._buffer(trt, engine, name) for name in outputs]
        for buffer in (self._input, *self._given):
            if not context.set_tensor_address(buffer.name, buffer.device):
                raise EngineError(f"{self.name}: {buffer.name}: its address was refused")
        self._context, self._engine, self._runtime, self._log = context, engine, deserializer, log

    def infer(self, images: Images) -> tuple[Output, ...]:
        """Run (N, H, W, 3) uint8 BGR images; see `Engine.infer`."""
        if self._context is None:
            raise EngineError(f"{self.name}: the engine is closed; open it again")
        check_images(images, self._signature, where=self.name)
        return run_in_batches(images, self._signature, self._run)

    def _run(self, chunk: Images) -> list[Output]:
        cudart, copy = self._cudart, self._cudart.cudaMemcpyKind
        np.copyto(self._input.host, chunk)
        self._copy(self._input.device, self._input.host, copy.cudaMemcpyHostToDevice)
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError(f"{self.name}: {self._log.told() or 'the plan did not run'}")
        for buffer in self._given:
            self._copy(buffer.host, buffer.device, copy.cudaMemcpyDeviceToHost)
        call(cudart.cudaStreamSynchronize, self._stream)
        return [buffer.host.copy() for buffer in self._given]

    def _copy(self, target: Output | int, source: Output | int, kind: Any) -> None:
        host = target if isinstance(target, np.ndarray) else source
        size = host.nbytes if isinstance(host, np.ndarray) else 0
        call(
            self._cudart.cudaMemcpyAsync,
            target.ctypes.data if isinstance(target, np.ndarray) else target,
            source.ctypes.data if isinstance(source, np.ndarray) else source,
            size,
            kind,
            self._stream,
        )

    def _buffer(self, trt: Any, engine: Any, name: str) -> Buffer:
        cudart = self._cudart
        shape = tuple(engine.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        size = int(np.prod(shape)) * dtype.itemsize
        address = int(call(cudart.cudaHostAlloc, size, cudart.cudaHostAllocDefault))
        self._resources.callback(call, cudart.cudaFreeHost, address)
        device = int(call(cudart.cudaMalloc, size))
        self._resources.callback(call, cudart.cudaFree, device)
        memory = (ctypes.c_uint8 * size).from_address(address)
        host = np.frombuffer(memory, np.uint8).view(dtype).reshape(shape)
        return Buffer(name=name, host=host, device=device)

    def close(self) -> None:
        """Release the plan, its memory and its stream; a second call does nothing."""
        # What uses the memory goes before the memory: context, engine, runtime, then the buffers.
        self._context = None
        self._engine = None
        self._runtime = None
        self._resources.close()

    def __enter__(self) -> TensorRtEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_input(trt: Any, engine: Any, name: str) -> bool:
    return bool(engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT)
