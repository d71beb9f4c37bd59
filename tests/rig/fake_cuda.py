"""`cuda.bindings.runtime` and `.driver` on a `FakeGpu`: the same names, arguments and results.

Constants, enums and handle types are the real ones. Every call is recorded, so that a test can make
the same calls of the real library and see whether it takes such arguments.
"""
# ruff: noqa: N802

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")

from cuda.bindings import driver, runtime
from fake_gpu import Event, FakeGpu, Stream, Violation, Work, guarded

from engines.cuda import Cuda

E = runtime.cudaError_t
PRIMARY = 0xC0DE
FOREIGN = 0xF0E1
ANSWERS_WHEN_LOST = {
    "cudaGetLastError",
    "cudaDeviceReset",
    "cudaSetDevice",
    "cuCtxPushCurrent",
    "cuCtxPopCurrent",
    "cuCtxGetCurrent",
    "cuInit",
    "cuDevicePrimaryCtxGetState",
    "cuDevicePrimaryCtxRelease",
}
NO_CONTEXT_NEEDED = {
    "cudaDeviceReset",
    "cudaGetDeviceProperties",
    "cudaGetLastError",
    "cudaRuntimeGetVersion",
    "cudaSetDevice",
}


class Failed(Exception):  # noqa: N818
    def __init__(self, code: Any) -> None:
        super().__init__(code)
        self.code = code


class Library:
    """Common to both: records calls, injects failures, answers with the library's codes."""

    real: Any
    codes: Any

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.gpu = machine.gpu

    def __getattribute__(self, name: str) -> Any:
        if not name.lower().startswith("cu"):
            return object.__getattribute__(self, name)
        try:
            function = object.__getattribute__(self, name)
        except AttributeError:
            found = getattr(object.__getattribute__(self, "real"), name)
            if isinstance(found, type | int):
                return found
            raise AttributeError(f"{name} is not in the fake") from None
        return self.called(name, function)

    def called(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        machine = self.machine

        @functools.wraps(function)
        def call(*arguments: Any) -> tuple[Any, ...]:
            machine.between_calls()
            machine.calls.append((self.real, name, arguments))
            machine.order.append(name)
            if machine.failures.get(name):
                code = machine.failures[name].popleft()
                if code:
                    return self.failed(name, code)
            if self.gpu.lost and name not in ANSWERS_WHEN_LOST:
                return self.failed(name, self.gpu.lost)
            if self.real is runtime and name not in NO_CONTEXT_NEEDED and not machine.current:
                raise Violation(f"{name} without a current context")
            try:
                given = function(*arguments)
            except Failed as error:
                return self.failed(name, error.code)
            machine.shapes[name] = 1 if given is None else 1 + len(given)
            return (self.codes(0), *(given or ()))

        return call

    def failed(self, name: str, code: int) -> tuple[Any, ...]:
        if self.real is runtime:
            self.machine.last_error = int(code)
        values = {"cudaGraphInstantiate", "cudaStreamEndCapture", "cudaMalloc", "cudaHostAlloc"}
        return (self.codes(int(code)), *([None] if name in values else []))


class Runtime(Library):
    real = runtime
    codes = runtime.cudaError_t

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any]:
        shared = int(self.gpu.integrated)
        return (SimpleNamespace(name=b"Fake 1", integrated=shared, canMapHostMemory=1),)

    def cudaGetLastError(self) -> tuple[()]:
        self.machine.last_error = 0
        return ()

    def cudaSetDevice(self, device: int) -> None:
        self.machine.active = True

    def cudaDeviceReset(self) -> None:
        if self.machine.retained:
            raise Violation("the device was reset under somebody who holds its context")
        self.machine.active = False
        self.machine.resets += 1
        self.gpu.forget(PRIMARY)
        if not self.machine.broken_for_good:
            self.gpu.lost = 0

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[int]:
        self.not_capturing("cudaHostAlloc")
        kind = "mapped" if flags & runtime.cudaHostAllocMapped else "pinned"
        return (self.gpu.allocate(size, kind, self.machine.here).address,)

    def cudaHostGetDevicePointer(self, pHost: int, flags: int) -> tuple[int]:
        block = self.gpu.blocks[pHost]
        if block.kind != "mapped":
            raise Failed(E.cudaErrorInvalidValue)
        return (block.alias,)

    def cudaFreeHost(self, ptr: int) -> None:
        self.not_capturing("cudaFreeHost")
        self.gpu.free(ptr, ("pinned", "mapped"), self.machine.here)

    def cudaMalloc(self, size: int) -> tuple[int]:
        self.not_capturing("cudaMalloc")
        return (self.gpu.allocate(size, "device", self.machine.here).address,)

    def cudaFree(self, devPtr: int) -> None:
        self.not_capturing("cudaFree")
        self.gpu.free(devPtr, ("device",), self.machine.here)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: Any) -> None:
        kinds = runtime.cudaMemcpyKind
        if kind != kinds.cudaMemcpyDefault:
            from_host = self.gpu.found(src, count, "copy")[0].kind != "device"
            to_host = self.gpu.found(dst, count, "copy")[0].kind != "device"
            told = (kind == kinds.cudaMemcpyHostToDevice, kind == kinds.cudaMemcpyDeviceToHost)
            if told != (from_host, to_host):
                raise Violation(f"{kind.name}, but from host: {from_host}, to host: {to_host}")

        def copy() -> None:
            self.gpu.bytes_at(dst, count)[:] = self.gpu.bytes_at(src, count)

        name = f"the copy {kind.name.removeprefix('cudaMemcpy')}"
        self.stream(stream)
        self.gpu.put(int(stream), Work(name, [(src, count)], [(dst, count)], copy))

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any]:
        if flags != runtime.cudaStreamNonBlocking:
            raise Violation("a stream that waits for the default stream")
        handle = self.gpu.handle()
        self.gpu.streams[handle] = Stream(f"stream {handle:#x}", self.machine.here)
        return (runtime.cudaStream_t(handle),)

    def cudaStreamDestroy(self, stream: Any) -> None:
        found = self.stream(stream)
        if found.captured is not None:
            raise Violation("a stream destroyed while it captures")
        if any(work.stream == found.key for work in self.gpu.pending):
            raise Violation("a stream destroyed with work on it")
        del self.gpu.streams[int(stream)]

    def cudaStreamSynchronize(self, stream: Any) -> None:
        found = self.stream(stream)
        self.not_capturing("cudaStreamSynchronize")
        self.gpu.wait(found.clock)
        self.check_lost()

    def cudaStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> None:
        found = self.stream(stream)
        self.not_capturing("cudaStreamWaitEvent")
        found.clock = {**found.clock, **_max(found.clock, self.event(event).clock)}

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> None:
        found = self.stream(stream)
        if found.captured is not None:
            raise Failed(E.cudaErrorIllegalState)
        found.captured, found.broken = [], False

    def cudaStreamIsCapturing(self, stream: Any) -> tuple[Any]:
        states = runtime.cudaStreamCaptureStatus
        captures = self.stream(stream).captured is not None
        return (
            states.cudaStreamCaptureStatusActive
            if captures
            else states.cudaStreamCaptureStatusNone,
        )

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any]:
        found = self.stream(stream)
        if found.captured is None:
            raise Failed(E.cudaErrorIllegalState)
        work, found.captured = found.captured, None
        if found.broken:
            raise Failed(E.cudaErrorStreamCaptureInvalidated)
        handle = self.gpu.handle()
        self.gpu.graphs[handle] = work
        return (runtime.cudaGraph_t(handle),)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any]:
        handle = self.gpu.handle()
        self.gpu.launchable[handle] = list(self.gpu.graphs[int(graph)])
        return (runtime.cudaGraphExec_t(handle),)

    def cudaGraphDestroy(self, graph: Any) -> None:
        _remove(self.gpu.graphs, graph, "graph")

    def cudaGraphExecDestroy(self, graphExec: Any) -> None:
        work = self.gpu.launchable.get(int(graphExec), [])
        running = {id(one.action) for one in self.gpu.pending}
        if any(id(one.action) in running for one in work):
            raise Violation("a graph destroyed while it runs")
        _remove(self.gpu.launchable, graphExec, "launchable graph")

    def cudaGraphLaunch(self, graphExec: Any, stream: Any) -> None:
        if self.stream(stream).captured is not None:
            raise Violation("a graph launched into a capture")
        if int(graphExec) not in self.gpu.launchable:
            raise Violation("a graph launched that is destroyed")
        self.gpu.launch(int(stream), self.gpu.launchable[int(graphExec)])

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any]:
        handle = self.gpu.handle()
        self.gpu.events[handle] = Event(self.machine.here)
        return (runtime.cudaEvent_t(handle),)

    def cudaEventDestroy(self, event: Any) -> None:
        self.event(event)
        del self.gpu.events[int(event)]

    def cudaEventRecord(self, event: Any, stream: Any) -> None:
        self.not_capturing("cudaEventRecord")
        self.gpu.record(self.event(event), self.stream(stream))

    def cudaEventSynchronize(self, event: Any) -> None:
        self.not_capturing("cudaEventSynchronize")
        self.gpu.wait(self.event(event).clock)
        self.check_lost()

    def cudaPointerGetAttributes(self, ptr: int) -> tuple[Any]:
        kinds = runtime.cudaMemoryType
        try:
            block, _ = self.gpu.found(ptr, 1, "asked")
        except Violation:
            nowhere = SimpleNamespace(
                type=kinds.cudaMemoryTypeUnregistered, device=-2, devicePointer=0
            )
            return (nowhere,)
        kind = kinds.cudaMemoryTypeDevice if block.kind == "device" else kinds.cudaMemoryTypeHost
        seen = ptr - block.address + block.alias if block.alias else 0
        return (SimpleNamespace(type=kind, device=0, devicePointer=seen),)

    def stream(self, handle: Any) -> Stream:
        found = self.gpu.streams.get(int(handle))
        if found is None:
            raise Violation(f"stream {int(handle):#x} is not there")
        if found.context not in (0, self.machine.here):
            raise Violation("a stream of another context")
        return found

    def event(self, handle: Any) -> Event:
        found = self.gpu.events.get(int(handle))
        if found is None:
            raise Violation(f"event {int(handle):#x} is not there")
        if found.context != self.machine.here:
            raise Violation("an event of another context")
        return found

    def not_capturing(self, name: str) -> None:
        if any(stream.captured is not None for stream in self.gpu.streams.values()):
            raise Violation(f"{name} during a capture")

    def check_lost(self) -> None:
        if self.gpu.lost:
            raise Failed(self.gpu.lost)


class Driver(Library):
    real = driver
    codes = driver.CUresult

    def cuInit(self, Flags: int) -> None:
        return

    def cuCtxGetCurrent(self) -> tuple[Any]:
        return (driver.CUcontext(self.machine.here),)

    def cuCtxGetDevice(self) -> tuple[Any]:
        return (driver.CUdevice(0),)

    def cuCtxPushCurrent(self, ctx: Any) -> None:
        alive = self.machine.active if int(ctx) == PRIMARY else int(ctx) == FOREIGN
        if not alive:
            raise Violation("a context made current that is not there")
        self.machine.current.append(int(ctx))

    def cuCtxPopCurrent(self) -> tuple[Any]:
        return (driver.CUcontext(self.machine.current.pop()),)

    def cuDevicePrimaryCtxGetState(self, dev: Any) -> tuple[int, int]:
        return 0, int(self.machine.active)

    def cuDevicePrimaryCtxRetain(self, dev: Any) -> tuple[Any]:
        self.machine.retained += 1
        self.machine.active = True
        return (driver.CUcontext(PRIMARY),)

    def cuDevicePrimaryCtxRelease(self, dev: Any) -> None:
        if not self.machine.retained:
            raise Violation("the primary context released too often")
        self.machine.retained -= 1

    def cuPointerGetAttribute(self, attribute: Any, ptr: int) -> tuple[Any]:
        block, _ = self.gpu.found(ptr, 1, "asked")
        return (driver.CUcontext(block.context),)


class Machine:
    """A fake GPU with its CUDA.

    Attributes:
        calls: (library, name, arguments) in order.
        order: names alone.
        failures: name -> codes for its next calls, 0 for success.
        broken_for_good: a reset of the device does not bring it back.
        between_calls: is called before each call, to let other threads in.
    """

    def __init__(self, *, integrated: bool = False) -> None:
        self.gpu = FakeGpu(integrated=integrated)
        self.calls: list[tuple[Any, str, tuple[Any, ...]]] = []
        self.order: list[str] = []
        self.shapes: dict[str, int] = {}
        self.failures: dict[str, deque[int]] = {}
        self._stacks = threading.local()
        self.retained = 0
        self.active = False
        self.resets = 0
        self.last_error = 0
        self.broken_for_good = False
        self.between_calls: Callable[[], None] = lambda: None
        self.cuda = FakeCuda(Runtime(self), Driver(self))

    @property
    def current(self) -> list[int]:
        """Contexts that are current in this thread, the last one in force."""
        stack: list[int] = self._stacks.__dict__.setdefault("stack", [])
        return stack

    @property
    def here(self) -> int:
        return self.current[-1] if self.current else 0

    def fail(self, name: str, *codes: int) -> None:
        self.failures[name] = deque(codes)

    def count(self, name: str) -> int:
        return self.order.count(name)

    def check(self) -> None:
        """Nothing is left, and every stack is as it was."""
        self.gpu.check_nothing_left()
        if self.current:
            raise Violation(f"contexts left current: {self.current}")
        if self.retained:
            raise Violation(f"the primary context is still held {self.retained} times")
        if self.last_error:
            raise Violation(f"error {self.last_error} left for the next library to find")


class FakeCuda(Cuda):
    """The border, with guarded views of page-locked memory."""

    def view(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return guarded(self.runtime.gpu, address, shape, dtype)


def _max(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in {*one, *other}}


def _remove(table: dict[int, Any], handle: Any, what: str) -> None:
    if table.pop(int(handle), None) is None:
        raise Violation(f"a {what} destroyed twice")
