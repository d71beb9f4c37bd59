"""`pycuda.driver` on the same fake GPU: pycuda's names, argument order, keywords and errors.

Each call is one of the fake CUDA's, so that it is recorded, checked, and fails when told to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from fake_cuda import PRIMARY, FakeCuda, Machine, driver, runtime

from engines.cuda import BINDINGS, PYCUDA
from engines.pycuda_binding import (
    CONTEXT,
    DEVICE_ORDINAL,
    DEVICE_POINTER,
    MEMORY_TYPE,
    PycudaBinding,
)


class Error(Exception):
    pass


class LogicError(Error):
    pass


class MemoryError(Error):  # noqa: A001 - pycuda's name
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):  # noqa: A001 - pycuda's name
    pass


KINDS = {
    2: MemoryError,
    **dict.fromkeys((701, 702, 719), LaunchError),
    **dict.fromkeys((100, 209, 214, 301), RuntimeError),
    999: Error,
}


class FakePycuda:
    """The part of `pycuda.driver` that is used."""

    Error = Error
    host_alloc_flags = SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4)
    device_attribute = SimpleNamespace(INTEGRATED="integrated", CAN_MAP_HOST_MEMORY="canMap")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.Context = Context(self)
        self.Device = Devices(self)

    def call(self, name: str, *arguments: Any) -> Any:
        library = self.machine.bindings.driver if not name.startswith("cuda") else None
        code, *given = getattr(library or self.machine.bindings.runtime, name)(*arguments)
        if int(code):
            self.machine.last_error = 0  # of the runtime, which pycuda does not use
            raise KINDS.get(int(code), LogicError)(f"{name} failed: {words_of(code)}")
        return given[0] if len(given) == 1 else tuple(given)

    def clean(self, name: str, handle: Any) -> None:
        """What pycuda frees: a refusal is a line on stderr, and no error."""
        try:
            self.call(name, handle)
        except Error:
            return

    def init(self, flags: int = 0) -> None:
        return

    def pagelocked_empty(
        self, shape: int, dtype: Any, order: str = "C", mem_flags: int = 0
    ) -> SimpleNamespace:
        address = self.call("cudaHostAlloc", shape, mem_flags)
        owner = SimpleNamespace(
            free=lambda: self.clean("cudaFreeHost", address),
            get_device_pointer=lambda: self.call("cudaHostGetDevicePointer", address, 0),
        )
        return SimpleNamespace(ctypes=SimpleNamespace(data=address), base=owner)

    def mem_alloc(self, bytes: int) -> Allocation:  # noqa: A002 - pycuda's name
        return Allocation(self, self.call("cudaMalloc", bytes))

    def memcpy_htod_async(self, dest: int, src: Any, stream: Stream | None = None) -> None:
        self._copy(dest, ctypes.addressof(src), len(src), 1, stream)

    def memcpy_dtoh_async(self, dest: Any, src: int, stream: Stream | None = None) -> None:
        self._copy(ctypes.addressof(dest), src, len(dest), 2, stream)

    def memcpy_dtod_async(
        self, dest: int, src: int, size: int, stream: Stream | None = None
    ) -> None:
        self._copy(dest, src, size, 4, stream)

    def mem_get_info(self) -> tuple[int, int]:
        free, total = self.call("cudaMemGetInfo")
        return free, total

    def get_version(self) -> tuple[int, int, int]:
        version = self.call("cudaRuntimeGetVersion")
        return version // 1000, version % 1000 // 10, 0

    def module_from_buffer(
        self, buffer: bytes, options: Sequence[str] = (), message_handler: Any = None
    ) -> Module:
        return Module(self, self.call("cuModuleLoadData", buffer))

    def Stream(self, flags: int = 0) -> Stream:  # noqa: N802 - pycuda's name
        return Stream(self, flags)

    def Event(self, flags: int = 0) -> Event:  # noqa: N802 - pycuda's name
        return Event(self, flags)

    def _copy(self, dest: int, src: int, size: int, kind: int, stream: Stream | None) -> None:
        assert isinstance(stream, Stream), "pycuda takes a Stream of its own"
        kinds = runtime.cudaMemcpyKind
        self.call("cudaMemcpyAsync", dest, src, size, kinds(kind), stream.handle)


class Module:
    def __init__(self, drv: FakePycuda, module: Any) -> None:
        self._drv, self._module = drv, module

    def get_function(self, name: str) -> Callable[..., None]:
        function = self._drv.call("cuModuleGetFunction", self._module, name.encode())

        def launch(*, grid: tuple[int, ...] = (1, 1), block: tuple[int, ...]) -> None:
            self._drv.call("cuLaunchKernel", function, *grid, *block, 0, 0, 0, 0)

        return launch


class Allocation:
    def __init__(self, drv: FakePycuda, address: int) -> None:
        self._drv, self._address = drv, address

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._drv.clean("cudaFree", self._address)


class Stream:
    def __init__(self, drv: FakePycuda, flags: int) -> None:
        self._drv, self.handle = drv, 0
        self.handle = int(drv.call("cudaStreamCreateWithFlags", flags))

    def __del__(self) -> None:
        if self.handle:
            self._drv.clean("cudaStreamDestroy", self.handle)

    def synchronize(self) -> None:
        self._drv.call("cudaStreamSynchronize", self.handle)

    def wait_for_event(self, event: Event) -> None:
        self._drv.call("cudaStreamWaitEvent", self.handle, event.number, 0)


class Event:
    def __init__(self, drv: FakePycuda, flags: int) -> None:
        self._drv, self.number = drv, 0
        self.number = int(drv.call("cudaEventCreateWithFlags", flags))

    def __del__(self) -> None:
        if self.number:
            self._drv.clean("cudaEventDestroy", self.number)

    def record(self, stream: Stream | None = None) -> Event:
        assert isinstance(stream, Stream), "pycuda takes a Stream of its own"
        self._drv.call("cudaEventRecord", self.number, stream.handle)
        return self

    def synchronize(self) -> Event:
        self._drv.call("cudaEventSynchronize", self.number)
        return self


class Context:
    """The class and its instances in one: the static methods go to what is current."""

    def __init__(self, drv: FakePycuda, handle: int = 0) -> None:
        self._drv, self.handle = drv, handle

    def push(self) -> None:
        self._drv.call("cuCtxPushCurrent", driver.CUcontext(self.handle))

    def pop(self) -> None:
        self._drv.call("cuCtxPopCurrent")

    def get_current(self) -> Context | None:
        here = self._drv.machine.here
        return Context(self._drv, here) if here else None

    def get_device(self) -> int:
        return 0

    def synchronize(self) -> None:
        for stream in list(self._drv.machine.gpu.streams.values()):
            self._drv.machine.gpu.wait(stream.clock)


class Devices:
    """`Device`, of which there is one."""

    def __init__(self, drv: FakePycuda) -> None:
        self._drv = drv

    def count(self) -> int:
        return 1

    def __call__(self, index: int) -> Any:
        gpu = self._drv.machine.gpu
        if index:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")
        return _Device(self._drv, int(gpu.integrated))


class _Device(int):
    def __new__(cls, _drv: FakePycuda, _integrated: int) -> _Device:
        return super().__new__(cls, 0)

    def __init__(self, drv: FakePycuda, integrated: int) -> None:
        self._drv, self._integrated = drv, integrated

    def name(self) -> str:
        return "Fake 1"

    def compute_capability(self) -> tuple[int, int]:
        return 8, 9

    def total_memory(self) -> int:
        return 8 << 30

    def get_attribute(self, attribute: str) -> int:
        return self._integrated if attribute == "integrated" else 1

    def retain_primary_context(self) -> Context:
        self._drv.machine.active = True  # and held for as long as the process lives
        return Context(self._drv, PRIMARY)


class FakeLibCuda:
    """The driver's own library, for what pycuda does not offer."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def words(self, number: int) -> str:
        known = number in iter(runtime.cudaError_t)
        return words_of(number) if known else ""

    def attribute(self, which: int, address: int) -> int | None:
        _, found = self._machine.bindings.runtime.cudaPointerGetAttributes(address)
        if found.type == runtime.cudaMemoryType.cudaMemoryTypeUnregistered:
            return None
        if which == CONTEXT:
            return int(self._machine.bindings.driver.cuPointerGetAttribute(which, address)[1])
        known = {MEMORY_TYPE: found.type, DEVICE_POINTER: found.devicePointer, DEVICE_ORDINAL: 0}
        return int(known[which]) or None

    def is_active(self, index: int) -> bool:
        return self._machine.active

    def reset(self, index: int) -> int:
        return int(self._machine.bindings.runtime.cudaDeviceReset()[0])


def words_of(number: int) -> str:
    return runtime.cudaGetErrorString(runtime.cudaError_t(number))[1].decode()


class _Binding(PycudaBinding):
    gpu: Any


def on_pycuda(machine: Machine) -> Machine:
    """The same machine, driven through pycuda."""
    machine.bindings = machine.cuda
    binding = _Binding(FakePycuda(machine), FakeLibCuda(machine))
    binding.gpu = machine.gpu
    machine.cuda = FakeCuda(binding, binding)
    return machine


def machine_through(back_end: str, **options: Any) -> Machine:
    """A new machine, driven through one of the two."""
    made = Machine(**options)
    return on_pycuda(made) if back_end == PYCUDA else made


both_back_ends = pytest.mark.parametrize("back_end", [BINDINGS, PYCUDA])
