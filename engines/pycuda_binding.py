"""CUDA through pycuda: what an engine calls of cuda-bindings, by the same names, with pycuda.

pycuda is built against the CUDA of the machine, so it works where no wheel of cuda-bindings fits
the driver, as on JetPack 6. It has no CUDA graphs: a capture is refused with that reason, and each
call of a frame is issued by itself. It waits for the streams of others, whose handles it cannot
take, on the host.

Read in pycuda's own sources (2026.1): its errors carry CUDA's words and no number, and a context
that is let go of in another thread than the one that retained it stays held. So the primary
context of a GPU is retained once and kept.
"""
# ruff: noqa: D102, N802, N815 - the names are CUDA's, and CUDA's documentation describes them

from __future__ import annotations

import ctypes
import functools
import itertools
import re
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

UNKNOWN, NOT_SUPPORTED = 999, 801
NO_GRAPHS = "pycuda has no CUDA graphs"
LAST_NUMBER = 999
CONTEXT, MEMORY_TYPE, DEVICE_POINTER, DEVICE_ORDINAL = 1, 2, 3, 9
"""What is asked of an address, as ``CUpointer_attribute`` numbers it."""

_LOCK = threading.Lock()
_DETACHED: list[Any] = []
"""Contexts that were reset: letting go of them would make pycuda call into what is no more."""


class Code(int):
    """A number of CUDA's, with the words that it came with."""

    words = ""


def code_from_error(error: BaseException, numbers: Mapping[str, int]) -> Code:
    """CUDA's number for an error of pycuda's; 999, after which nothing is trusted, if unknown.

    Args:
        error: says which function failed, CUDA's words, and sometimes more.
        numbers: by CUDA's words.
    """
    said = re.sub(r"^\w+ failed: ", "", str(error))
    number = max(
        ((len(words), number) for words, number in numbers.items() if said.startswith(words)),
        default=(0, UNKNOWN),
    )[1]
    code = Code(number)
    code.words = said
    return code


class LibCuda:
    """What pycuda does not offer of the driver."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def words(self, number: int) -> str:
        """What pycuda's errors say for one of CUDA's numbers; empty if CUDA has no such error."""
        words = ctypes.c_char_p()
        unknown = self._library.cuGetErrorString(number, ctypes.byref(words))
        return "" if unknown else (words.value or b"").decode(errors="replace")

    def attribute(self, which: int, address: int) -> int | None:
        """What CUDA knows of an address; None if nothing."""
        found = ctypes.c_uint64()
        unknown = self._library.cuPointerGetAttribute(
            ctypes.byref(found), which, ctypes.c_uint64(address)
        )
        return None if unknown else found.value

    def is_active(self, index: int) -> bool:
        """Whether anybody in this process has the GPU's primary context."""
        flags, active = ctypes.c_uint(), ctypes.c_int()
        found = self._library.cuDevicePrimaryCtxGetState(
            index, ctypes.byref(flags), ctypes.byref(active)
        )
        return not found and bool(active.value)

    def reset(self, index: int) -> int:
        """Destroy the GPU's primary context; CUDA's number for how it went."""
        return int(self._library.cuDevicePrimaryCtxReset_v2(index))


class PycudaBinding:
    """The functions and constants of `cuda.bindings.runtime` and `.driver` that an engine uses.

    Each returns a tuple, first the error's number, as they do.

    Args:
        drv: the module `pycuda.driver`.
        libcuda: see `LibCuda`.
    """

    cudaHostAllocDefault = 0
    cudaHostAllocMapped = 2
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDefault=4
    )
    cudaMemoryType = SimpleNamespace(
        cudaMemoryTypeUnregistered=0,
        cudaMemoryTypeHost=1,
        cudaMemoryTypeDevice=2,
        cudaMemoryTypeManaged=3,
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamCaptureStatus = SimpleNamespace(cudaStreamCaptureStatusNone=0)
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_CONTEXT=CONTEXT)

    def __init__(self, drv: Any, libcuda: Any) -> None:
        self._drv, self._libcuda = drv, libcuda
        self._owned: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._contexts: dict[int, Any] = {}
        self._primary: dict[int, Any] = {}
        self._numbers = itertools.count(1)
        self._index = 0

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not (callable(found) and name.startswith(("cuda", "cu"))):
            return found
        return self._coded(name, found)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        return self._coded(name, lambda *_: _not_offered(f"{name} is not offered through pycuda"))

    def _coded(self, name: str, function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            try:
                given = function(*arguments)
            except self._drv.Error as error:
                return (code_from_error(error, self._numbers_of_words), None)
            return (given,) if isinstance(given, Code) else (0, *given)

        call.__name__ = name
        return call

    @functools.cached_property
    def _numbers_of_words(self) -> dict[str, int]:
        """CUDA's numbers by the words that this driver has for them."""
        every = {self._libcuda.words(number): number for number in range(LAST_NUMBER, 0, -1)}
        return {words: number for words, number in every.items() if words}

    def cuInit(self, flags: int) -> tuple[Any, ...]:
        self._drv.init(flags)
        return ()

    def cuCtxGetCurrent(self) -> tuple[Any, ...]:
        context = self._drv.Context.get_current()
        if context is None:
            return (0,)
        # One object for each context: pycuda compares objects before it frees what is in one, and
        # `autoprimaryctx` has another one for the context that is retained here.
        self._contexts.setdefault(context.handle, context)
        return (context.handle,)

    def cuCtxGetDevice(self) -> tuple[Any, ...]:
        here = self._drv.Context.get_device()
        return (next(i for i in range(self._drv.Device.count()) if self._drv.Device(i) == here),)

    def cuCtxPushCurrent(self, context: int) -> tuple[Any, ...]:
        self._contexts[context].push()
        return ()

    def cuCtxPopCurrent(self) -> tuple[Any, ...]:
        self._drv.Context.pop()
        return (None,)

    def cuDevicePrimaryCtxGetState(self, index: int) -> tuple[Any, ...]:
        return 0, int(self._libcuda.is_active(index))

    def cuDevicePrimaryCtxRetain(self, index: int) -> tuple[Any, ...]:
        with _LOCK:
            if not self._libcuda.is_active(index):
                self._drop_primary(index)  # somebody has reset the GPU
            if index not in self._primary:
                self._primary[index] = self._drv.Device(index).retain_primary_context()
                self._contexts[self._primary[index].handle] = self._primary[index]
            context = self._primary[index]
        return (context.handle,)

    def cuDevicePrimaryCtxRelease(self, index: int) -> tuple[Any, ...]:
        return ()  # kept, see above

    def cudaSetDevice(self, index: int) -> tuple[Any, ...]:
        self._index = index
        return ()

    def cudaDeviceReset(self) -> Code:
        with _LOCK:
            self._drop_primary(self._index)
        return Code(self._libcuda.reset(self._index))

    def cuPointerGetAttribute(self, attribute: int, address: int) -> tuple[Any, ...]:
        return (self._libcuda.attribute(attribute, address) or 0,)

    def cudaPointerGetAttributes(self, address: int) -> tuple[Any, ...]:
        asked = self._libcuda.attribute
        found = SimpleNamespace(
            type=asked(MEMORY_TYPE, address) or self.cudaMemoryType.cudaMemoryTypeUnregistered,
            device=asked(DEVICE_ORDINAL, address) or 0,
            devicePointer=asked(DEVICE_POINTER, address) or 0,
        )
        return (found,)

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return ()  # pycuda calls the driver, which keeps none

    def cudaGetErrorString(self, code: Code) -> tuple[Any, ...]:
        return (code.words.encode(),)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return tuple(self._drv.mem_get_info())

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return (self._drv.get_driver_version(),)

    def cudaRuntimeGetVersion(self) -> tuple[Any, ...]:
        major, minor, _ = self._drv.get_version()
        return (major * 1000 + minor * 10,)

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        self._drv.init()
        return (self._drv.Device.count(),)

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:
        device, asked = self._drv.Device(index), self._drv.device_attribute
        major, minor = device.compute_capability()
        found = SimpleNamespace(
            name=device.name().encode(),
            major=major,
            minor=minor,
            totalGlobalMem=device.total_memory(),
            integrated=device.get_attribute(asked.INTEGRATED),
            canMapHostMemory=device.get_attribute(asked.CAN_MAP_HOST_MEMORY),
        )
        return (found,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        mapped = self._drv.host_alloc_flags.DEVICEMAP if flags & self.cudaHostAllocMapped else 0
        array = self._drv.pagelocked_empty(size, np.uint8, mem_flags=mapped)
        address = int(array.ctypes.data)
        self._owned[address] = array.base
        return (address,)

    def cudaHostGetDevicePointer(self, address: int, flags: int) -> tuple[Any, ...]:
        return (int(self._owned[address].get_device_pointer()),)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        self._owned.pop(address).free()
        return ()

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        memory = self._drv.mem_alloc(size)
        self._owned[int(memory)] = memory
        return (int(memory),)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        self._owned.pop(address).free()
        return ()

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[Any, ...]:
        drv, on = self._drv, self._owned[stream]
        if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice:
            drv.memcpy_htod_async(target, _host(source, size), stream=on)
        elif kind == self.cudaMemcpyKind.cudaMemcpyDeviceToHost:
            drv.memcpy_dtoh_async(_host(target, size), source, stream=on)
        else:
            drv.memcpy_dtod_async(target, source, size, stream=on)
        return ()

    def _drop_primary(self, index: int) -> None:
        gone = self._primary.pop(index, None)
        if gone is not None:
            self._contexts.pop(gone.handle, None)
            _DETACHED.append(gone)

    def cuModuleLoadData(self, image: bytes) -> tuple[Any, ...]:
        return (self._drv.module_from_buffer(image),)

    def cuModuleGetFunction(self, module: Any, name: bytes) -> tuple[Any, ...]:
        return (module.get_function(name.decode()),)

    def cuLaunchKernel(self, kernel: Any, *sizes: int) -> tuple[Any, ...]:
        grid, block = sizes[:3], sizes[3:6]  # no arguments, and the default stream
        kernel(grid=grid, block=block)
        return ()

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        stream = self._drv.Stream(flags)
        self._owned[stream.handle] = stream
        return (stream.handle,)

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        del self._owned[stream]  # its last reference: pycuda destroys it
        return ()

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        self._owned[stream].synchronize()
        return ()

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[Any, ...]:
        if stream in self._owned:
            self._owned[stream].wait_for_event(self._events[event])
        else:
            self._events[event].synchronize()  # what its owner puts there later comes after
        return ()

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> Code:
        return _not_offered(NO_GRAPHS)

    def cudaStreamIsCapturing(self, stream: int) -> tuple[Any, ...]:
        return (self.cudaStreamCaptureStatus.cudaStreamCaptureStatusNone,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        number = next(self._numbers)
        self._events[number] = self._drv.Event(flags)
        return (number,)

    def cudaEventDestroy(self, event: int) -> tuple[Any, ...]:
        del self._events[event]
        return ()

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any, ...]:
        if stream in self._owned:
            self._events[event].record(self._owned[stream])
        else:
            self._drv.Context.synchronize()  # somebody else's stream; nothing is left to mark
        return ()

    def cudaEventSynchronize(self, event: int) -> tuple[Any, ...]:
        self._events[event].synchronize()
        return ()


def _not_offered(words: str) -> Code:
    code = Code(NOT_SUPPORTED)
    code.words = words
    return code


def _host(address: int, size: int) -> Any:
    return (ctypes.c_uint8 * size).from_address(address)
