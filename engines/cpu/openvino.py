"""OpenVINO on the CPU: the fastest engine where there is no NVIDIA GPU."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from engines.batches import Signature, check_images, run_in_batches, signature_from_input
from engines.buffer_pool import BufferPool
from engines.cpu.openvino_compile import CompileRequest, Mode, count_streams, import_or_compile
from engines.cpu.processor import BF16_INSTRUCTIONS, cpu_instructions
from engines.engine import Images, LayerTime, Output, Precision, Ticket
from engines.errors import EngineError

NAME = "openvino"
TELEMETRY = "openvino_telemetry"
REFUSED = "it does not take this graph: {}; build the bundle again"


class OpenVinoEngine(AbstractContextManager["OpenVinoEngine"]):
    """A graph compiled for the CPU: one image with all cores, or several at once.

    `infer` has all cores work on one call: the lowest latency. `submit` and `collect` use the
    same graph compiled a second time, at the first `submit`, with one image per core: the highest
    rate, for several cameras or a folder.

    Args:
        model: serialised ONNX, input `image` uint8 (N, H, W, 3).
        precision: of the graph. ``fp32`` computes in f32 exactly. ``fp16`` and ``int8`` let
            convolutions that are not quantised run in bf16 where the processor has the
            instructions, and keep the end of the graph in f32 (`engines.cpu.openvino_precision`).
        threads: per call; None takes all physical cores that this process may use.
        plans: folder that keeps the compiled graph for the next start; None keeps nothing.
        say: receives a line if it cannot be kept.
        tell_layer: receives each layer's time of each `infer`; nothing is kept then.

    Raises:
        EngineError: OpenVINO is missing, or it doesn't take the graph.
    """

    name = NAME

    def __init__(
        self,
        model: bytes,
        *,
        precision: Precision,
        threads: int | None = None,
        plans: Path | None = None,
        say: Callable[[str], None] | None = None,
        tell_layer: Callable[[LayerTime], None] | None = None,
    ) -> None:
        from engines.cpu.openvino_precision import executes

        self._alone: _InferSlot | None = None
        openvino = import_openvino()
        with _as_engine_error(REFUSED):
            core = shared_core(openvino)
            mixed = precision != "fp32" and has_bf16(core)
            request = CompileRequest(
                model, precision, mixed, threads, plans, say, counts_time=tell_layer is not None
            )
            self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
            compiled = import_or_compile(openvino, core, request, mode="latency")
            self._signature = _signature(compiled)
            self.executes = executes(compiled)
            self._alone = _InferSlot(compiled, tell_layer)
        self.outputs: Sequence[str] = self._signature.outputs
        self.size = self._signature.size
        self.batch = self._signature.batch
        # One more than work at once: the next image is copied in while all streams are busy.
        self.slots = count_streams(threads) + 1
        self._compile: Callable[[Mode], Any] = lambda mode: import_or_compile(
            openvino, core, request, mode=mode
        )
        self._running = threading.Lock()
        self._making = threading.Lock()
        self._free: deque[_InferSlot] | None = None
        self._tickets = itertools.count()
        self._waiting: dict[Ticket, tuple[_InferSlot, int]] = {}

    def infer(self, images: Images) -> tuple[Output, ...]:
        """Run (N, H, W, 3) uint8 BGR images; see `Engine.infer`."""
        request = self._alone
        if request is None:
            raise EngineError(f"{NAME}: the engine is closed; open it again")
        check_images(images, self._signature, where=NAME)
        with self._running:  # two threads must not write into the same input
            return run_in_batches(images, self._signature, request.run)

    def submit(self, images: Images) -> Ticket:
        """Begin with up to `batch` images and don't wait; see `PipelinedEngine.submit`."""
        if self._alone is None:
            raise EngineError(f"{NAME}: the engine is closed; open it again")
        check_images(images, self._signature, where=NAME)
        count = len(images)
        if count > self.batch:
            raise EngineError(f"{NAME}: one call takes up to {self.batch} images, not {count}")
        try:
            request = self._requests().pop()
        except IndexError as error:
            raise EngineError(
                f"{NAME}: all {self.slots} slots are taken; collect a result first"
            ) from error
        try:
            request.start(images)
        except EngineError:
            self._requests().append(request)
            raise
        ticket = Ticket(next(self._tickets))
        self._waiting[ticket] = (request, count)
        return ticket

    def collect(self, ticket: Ticket) -> tuple[Output, ...]:
        """Wait for a ticket and give its results; see `PipelinedEngine.collect`."""
        found = self._waiting.pop(ticket, None)
        if found is None:
            raise EngineError(f"{NAME}: ticket {ticket} is unknown or was collected before")
        request, count = found
        try:
            request.wait()
            return tuple(output[:count] for output in request.copies())
        finally:
            self._requests().append(request)

    def _requests(self) -> deque[_InferSlot]:
        """Those that are free; made at the first use, since most inspectors have one camera."""
        with self._making:
            if self._free is None:
                with _as_engine_error(REFUSED):
                    compiled = self._compile("throughput")
                    self._free = deque(_InferSlot(compiled) for _ in range(self.slots))
            return self._free

    def close(self) -> None:
        """Release the requests and the compiled graphs; a second call does nothing."""
        for request, _ in self._waiting.values():
            with suppress(EngineError):  # nobody wants these any more, only their end
                request.wait()
        self._waiting = {}
        self._free = deque()
        self._alone = None

    def __exit__(self, *_: object) -> None:
        self.close()


class _InferSlot:
    """One request; its input and outputs are bound once, so that a call allocates nothing."""

    def __init__(
        self, compiled: Any, tell_layer: Callable[[LayerTime], None] | None = None
    ) -> None:
        self._tell_layer = tell_layer
        self._request = compiled.create_infer_request()
        self._input = self._request.get_input_tensor(0).data
        self._outputs = [
            self._request.get_output_tensor(index).data for index in range(len(compiled.outputs))
        ]
        self._pools = [BufferPool(output.shape, output.dtype) for output in self._outputs]

    def run(self, images: Images) -> list[Output]:
        np.copyto(self._input, images)
        with _as_engine_error():
            # Shared: otherwise the binding copies every output once more.
            self._request.infer(share_outputs=True)
            if self._tell_layer is not None:
                self._tell_layers(self._tell_layer)
        return self.copies()

    def start(self, images: Images) -> None:
        count = len(images)
        self._input[:count] = images
        self._input[count:] = images[-1:]
        with _as_engine_error():
            self._request.start_async()

    def wait(self) -> None:
        with _as_engine_error():
            self._request.wait()

    def _tell_layers(self, tell: Callable[[LayerTime], None]) -> None:
        for found in self._request.get_profiling_info():
            if found.status == found.Status.EXECUTED:
                ms = 1e3 * found.real_time.total_seconds()
                tell(LayerTime(found.node_name, found.node_type, found.exec_type, ms))

    def copies(self) -> list[Output]:
        """The request writes into the same memory again: what the caller gets is a copy."""
        return list(map(BufferPool.copy, self._pools, self._outputs))


@contextmanager
def _as_engine_error(text: str = "{}") -> Iterator[None]:
    """Raise what OpenVINO raises as an `EngineError`; `text` says what was tried."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(f"{NAME}: {text.format(_last_line(error))}") from error


def import_openvino() -> ModuleType:
    """Import OpenVINO without its usage reports.

    `import openvino` alone sends an event over the network and writes an identifier into the home
    folder, unless its telemetry package cannot be imported: then it takes its own empty stand-in.

    Raises:
        EngineError: it is not installed, or broken.
    """
    try:
        with _not_importable(TELEMETRY):
            import openvino
    except ImportError as error:
        raise EngineError(f"{NAME}: {error}; pip install 'protoedge[cpu]'") from error
    return cast(ModuleType, openvino)


@contextmanager
def _not_importable(name: str) -> Iterator[None]:
    """Make ``import name`` fail inside the block: None in `sys.modules` does that."""
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    before = modules.get(name)
    had = name in modules
    modules[name] = None
    try:
        yield
    finally:
        if had:
            modules[name] = before
        else:
            del modules[name]


_core: Any = None
_making_core = threading.Lock()


def shared_core(openvino: ModuleType) -> Any:
    """The one `openvino.Core` of this process, which is never released.

    Its CPU plugin gives the thread in which it is made an alternate stack for signals, and unmaps
    that stack with itself. Released in another thread, or after it, the first thread's next signal
    would end the process.

    Args:
        openvino: the module.
    """
    global _core  # noqa: PLW0603  # one for each process is the point
    with _making_core:
        if _core is None:
            core = openvino.Core()
            core.get_property("CPU", "FULL_DEVICE_NAME")  # makes the plugin
            _core = core
        return _core


def has_bf16(core: Any) -> bool:
    """Whether bf16 is native here: the plugin emulates it on any AVX-512, slower than f32."""
    natively = bool(BF16_INSTRUCTIONS & cpu_instructions())
    return natively and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _signature(compiled: Any) -> Signature:
    if len(compiled.inputs) != 1:
        raise EngineError(f"{NAME}: the graph has {len(compiled.inputs)} inputs, not `image` alone")
    found = compiled.inputs[0]
    shape = [size.get_length() if size.is_static else -1 for size in found.get_partial_shape()]
    return signature_from_input(
        found.get_any_name(),
        dtype=found.get_element_type().get_type_name(),
        shape=shape,
        outputs=[output.get_any_name() for output in compiled.outputs],
        where=NAME,
    )


def _last_line(error: Exception) -> str:
    """OpenVINO's messages begin with lines that name its source files; the cause comes last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if not line.startswith("Exception from ")]
    return " ".join(causes or lines)[:400]
