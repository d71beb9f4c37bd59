"""ONNX Runtime on the CPU: the reference that the other engines are checked against."""

from __future__ import annotations

import functools
import json
import platform
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from engines.batches import (
    BATCH,
    CHANNELS,
    INPUT,
    Signature,
    check_images,
    run_in_batches,
    signature_from_input,
)
from engines.buffer_pool import BufferPool
from engines.cpu.processor import cpu_name, granted_cpus, usable_cores
from engines.engine import Images, LayerTime, Output, Precision
from engines.errors import EngineError

NAME = "onnxruntime"
_KERNEL_TIME = "_kernel_time"  # how the events of layers end in ONNX Runtime's profile
SILENT = 4
"""Severity "fatal": what goes wrong arrives as an exception, and nothing is printed."""


class OnnxRuntimeEngine(AbstractContextManager["OnnxRuntimeEngine"]):
    """A graph in an ONNX Runtime session with the CPU provider alone.

    Args:
        model: serialised ONNX, input `image` uint8 (N, H, W, 3).
        precision: of the graph; only said again in `executes`.
        threads: per call; None takes all physical cores that this process may use.
        tell_layer: receives each layer's time of each call, when the engine is closed.

    Raises:
        EngineError: ONNX Runtime is missing, or it doesn't take the graph.
    """

    name = NAME

    def __init__(
        self,
        model: bytes,
        *,
        precision: Precision,
        threads: int | None = None,
        tell_layer: Callable[[LayerTime], None] | None = None,
    ) -> None:
        self._session: Any = None
        self._bound: _Bound | None = None
        self._profile = None if tell_layer is None else _Profile(tell_layer)
        self._session = _session_from_onnx(model, threads=threads, profile=self._profile)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise EngineError(f"{NAME}: the graph has {len(inputs)} inputs, not `image` alone")
        self._signature: Signature = signature_from_input(
            inputs[0].name,
            dtype=inputs[0].type,
            shape=inputs[0].shape,
            outputs=[output.name for output in self._session.get_outputs()],
            where=NAME,
        )
        with as_engine_error(f"{NAME}: it cannot run this graph"):
            self._bound = _Bound(self._session, self._signature)
        self.device = cpu_name()
        self.executes = _arithmetic(precision)
        self.outputs: Sequence[str] = self._signature.outputs
        self.size = self._signature.size
        self.batch = self._signature.batch

    def infer(self, images: Images) -> tuple[Output, ...]:
        """Run (N, H, W, 3) uint8 BGR images; see `Engine.infer`."""
        bound = self._bound
        if bound is None:
            raise EngineError(f"{NAME}: the engine is closed; open it again")
        check_images(images, self._signature, where=NAME)
        with as_engine_error(NAME):
            return run_in_batches(images, self._signature, bound.run)

    def close(self) -> None:
        """Release the session; a second call does nothing."""
        session, self._session, self._bound = self._session, None, None
        if self._profile is not None and session is not None:
            self._profile.tell(session)

    def __exit__(self, *_: object) -> None:
        self.close()


class _Profile:
    """ONNX Runtime's own profile: a file that is whole when the session ends it.

    Args:
        tell_layer: receives what it says.
    """

    def __init__(self, tell_layer: Callable[[LayerTime], None]) -> None:
        self._tell = tell_layer
        self._folder = tempfile.TemporaryDirectory(prefix="protoedge-")

    def begin(self, options: Any) -> None:
        """Switch it on in a session's options."""
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "profile")

    def tell(self, session: Any) -> None:
        """End it, and tell each layer of each call; the file is removed."""
        with self._folder:
            events = json.loads(Path(session.end_profiling()).read_bytes())
        for event in events:
            name, is_kernel, _ = str(event["name"]).rpartition(_KERNEL_TIME)
            if event.get("cat") == "Node" and is_kernel:
                kind = str(event["args"].get("op_name", ""))
                self._tell(LayerTime(name, kind, "", event["dur"] / 1e3))


class _Bound:
    """A session with its input and outputs bound once, so that a call allocates nothing."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._input = np.zeros((signature.batch, *signature.size, CHANNELS), np.uint8)
        self._binding = session.io_binding()
        self._binding.bind_input(
            INPUT, "cpu", 0, np.uint8, self._input.shape, _address(self._input)
        )
        self._outputs: list[Output] = []
        self._pools: list[BufferPool] = []
        for output in session.get_outputs():
            # Shapes inside may be open where those of the inputs are fixed: then ONNX Runtime
            # must be asked by running it once.
            self._binding.bind_output(output.name, "cpu")
        session.run_with_iobinding(self._binding)
        found = self._binding.copy_outputs_to_cpu()
        for output, array in zip(session.get_outputs(), found, strict=True):
            kept = np.empty(array.shape, array.dtype)
            self._outputs.append(kept)
            self._pools.append(BufferPool(kept.shape, kept.dtype))
            self._binding.bind_output(
                output.name, "cpu", 0, kept.dtype.type, kept.shape, _address(kept)
            )

    def run(self, images: Images) -> list[Output]:
        with self._lock:  # two threads must not write into the same input
            np.copyto(self._input, images)
            self._session.run_with_iobinding(self._binding)
            # The session writes into the same memory again: what the caller gets is a copy.
            return list(map(BufferPool.copy, self._pools, self._outputs))


def _address(array: Output) -> int:
    return int(array.ctypes.data)


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime; its usage reports are switched off in the package's ``__init__``.

    Raises:
        EngineError: it is not installed, or broken.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"{NAME}: {_one_line(error)}; pip install onnxruntime") from error
    return cast(ModuleType, onnxruntime)


@contextmanager
def as_engine_error(where: str, hint: str = "") -> Iterator[None]:
    """Raise whatever ONNX Runtime raises as one `EngineError`.

    Args:
        where: the engine's name and what it was doing, for the message.
        hint: what to do, behind it.
    """
    try:
        yield
    except _errors() as error:
        if isinstance(error, EngineError):
            raise
        raise EngineError(f"{where}: {_one_line(error)}{hint}") from error


@functools.cache
def _errors() -> tuple[type[Exception], ...]:
    """The classes of everything that ONNX Runtime can raise; they share no base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    known = (found for found in vars(state).values() if isinstance(found, type))
    own = (found for found in known if issubclass(found, Exception))
    return (*own, RuntimeError, ValueError)


def _session_from_onnx(model: bytes, *, threads: int | None, profile: _Profile | None) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from cameras and from each other: measured,
    # a third of the processor time, and half of the wall time once the machine is busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_free_dimension_override_by_name(BATCH, 1)
    if threads is None and granted_cpus() is not None:
        threads = usable_cores()  # ONNX Runtime counts cores and knows no control group's quota
    if threads is not None:
        options.intra_op_num_threads = threads
    if profile is not None:
        profile.begin(options)
    # Other engines run without `onnx`; its import takes a sixth of a second, and saves half of each
    # frame's time.
    from engines.cpu.pooled_maxima import graph_with_pooled_maxima

    with as_engine_error(f"{NAME}: it does not take this graph", "; build the bundle again"):
        return onnxruntime.InferenceSession(
            graph_with_pooled_maxima(model), options, providers=["CPUExecutionProvider"]
        )


def _arithmetic(precision: Precision) -> str:
    """What the CPU provider computes in: x86 has no FP16 kernels, so casts surround FP32 ones."""
    if precision == "int8":
        return "int8+f32"
    if precision == "fp16" and platform.machine() == "aarch64":
        return "fp16"
    return "f32"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
