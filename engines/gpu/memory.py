"""What a CUDA engine owns: memory, streams, events and graphs, each released exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.cuda import Cuda, DeviceLostError
from engines.engine import Output
from engines.errors import EngineError


@dataclass(frozen=True, slots=True)
class Buffer:
    """One tensor of a graph: page-locked host memory and where the GPU has it.

    Attributes:
        name: the tensor's.
        host: view of the host memory, in the tensor's shape and type.
        address: of `host`.
        device: address that the GPU reads or writes.
        mapped: `device` is the same memory as `host`: nothing needs to be copied.
    """

    name: str
    host: Output
    address: int
    device: int
    mapped: bool

    @property
    def size(self) -> int:
        """In bytes."""
        return int(self.host.nbytes)


class Resources:
    """Everything that was allocated, in order; released in the opposite order.

    Args:
        cuda: the libraries. All calls need the engine's context to be current.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._release: list[tuple[str, Any]] = []

    def buffer(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, *, mapped: bool = False
    ) -> Buffer:
        """Allocate a tensor on both sides, or once for both where `mapped`.

        Raises:
            EngineError: no memory, or the GPU can't map the host's.
        """
        cuda, runtime = self._cuda, self._cuda.runtime
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        flags = runtime.cudaHostAllocMapped if mapped else runtime.cudaHostAllocDefault
        address = int(self._own("cudaFreeHost", cuda.run("cudaHostAlloc", size, flags)))
        if mapped:
            device = int(cuda.run("cudaHostGetDevicePointer", address, 0))
        else:
            device = int(self._own("cudaFree", cuda.run("cudaMalloc", size)))
        host = cuda.view(address, shape, dtype)
        return Buffer(name=name, host=host, address=address, device=device, mapped=mapped)

    def stream(self) -> Any:
        """A stream that doesn't wait for the default one, whatever other libraries do there."""
        flags = self._cuda.runtime.cudaStreamNonBlocking
        return self._own("cudaStreamDestroy", self._cuda.run("cudaStreamCreateWithFlags", flags))

    def event(self) -> Any:
        """An event without a time, which costs least."""
        flags = self._cuda.runtime.cudaEventDisableTiming
        return self._own("cudaEventDestroy", self._cuda.run("cudaEventCreateWithFlags", flags))

    def graph(self, stream: Any, issue: Callable[[], None]) -> Any:
        """Capture what `issue` puts on a stream, to be launched by one call.

        Args:
            stream: that `issue` uses, idle.
            issue: puts the work there; runs nothing yet.

        Returns:
            The graph, ready for ``cudaGraphLaunch``.

        Raises:
            EngineError: something in it can't be captured; the stream works as before.
        """
        cuda, runtime = self._cuda, self._cuda.runtime
        # Thread-local: what other threads of the process allocate meanwhile doesn't break it.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        cuda.run("cudaStreamBeginCapture", stream, mode)
        try:
            issue()
            graph = cuda.run("cudaStreamEndCapture", stream)
        except BaseException:
            _abandon(cuda, stream)  # an end that CUDA refused may have left the stream capturing
            raise
        try:
            return self._own("cudaGraphExecDestroy", cuda.run("cudaGraphInstantiate", graph, 0))
        finally:
            cuda.run("cudaGraphDestroy", graph)

    def release(self) -> None:
        """Free everything; a second call does nothing.

        Raises:
            EngineError: the first that CUDA refused to free. Not of a lost device, with which
                all of it went.
        """
        first: EngineError | None = None
        while self._release:
            name, handle = self._release.pop()
            try:
                self._cuda.run(name, handle)
            except DeviceLostError:
                continue
            except EngineError as error:
                first = first or error
        if first is not None:
            raise first

    def _own(self, release: str, handle: Any) -> Any:
        self._release.append((release, handle))
        return handle


def _abandon(cuda: Cuda, stream: Any) -> None:
    """Leave the capture mode after a failure; a broken capture has no graph, a whole one has.

    An end that CUDA refuses may leave the stream capturing, in which nothing can be allocated or
    freed: it is asked twice, and says the second time that there is no capture where it was over.
    """
    for _ in range(2):
        try:
            graph = cuda.run("cudaStreamEndCapture", stream)
        except EngineError:
            continue  # what failed before is the cause, and is on its way
        if graph is not None and int(graph):
            _destroy(cuda, graph)
        return


def _destroy(cuda: Cuda, graph: Any) -> None:
    try:
        cuda.run("cudaGraphDestroy", graph)
    except EngineError:
        return  # as above
