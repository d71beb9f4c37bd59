"""CUDA through cuda-bindings: every error code of every call becomes an `EngineError` here.

    EngineError
        DeviceLostError    the GPU or this process's context on it is gone; open the engine again

cuda-bindings imports on a machine without a GPU or driver and says so with error 35 (no driver, or
one older than the runtime) or 100 (no device).
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.engine import Output
from engines.errors import EngineError
from engines.installing import how_to_get_cuda_bindings
from engines.jetson import jetpack
from engines.pycuda_binding import Code, LibCuda, PycudaBinding

MIB = 1 << 20
NO_DRIVER = 35
BINDINGS, PYCUDA = "cuda-bindings", "pycuda"
ASKED = "PROTOEDGE_CUDA"

_SEE_LOG = "look for NVRM and Xid in the kernel's log (dmesg)"
_KERNEL = (
    f"a kernel went wrong and this process's GPU context with it; {_SEE_LOG}, and if it comes "
    "back build the plan again and report it"
)
_HARDWARE = f"the GPU's hardware failed; {_SEE_LOG}, reset it (nvidia-smi -r) or replace it"
_MPS = "restart the MPS server (nvidia-cuda-mps-control) or run without it"
_KERNEL_ERRORS = (700, 710, *range(714, 720), 721)

LOST: frozenset[int] = frozenset(
    {
        46,  # the GPU is off the bus, or another process has it for itself
        201,  # the context is not there, or no longer
        214,  # an error of the memory that ECC could not correct
        220,  # NVLink
        226,  # contained by the hardware, at this process's cost
        *_KERNEL_ERRORS,
        702,  # the watchdog of the display
        709,  # somebody destroyed the context: another library's cudaDeviceReset
        805,
        806,
        807,
        810,
        911,  # an external device, in the same way as 719
        999,
    }
)
"""Errors of ``cudaError_t``, and of ``CUresult`` where it has the same, of which CUDA's
documentation says that the process or the device can't go on: every further call fails until the
context is made anew, or the process is."""

ADVICE: dict[int, str] = {
    **dict.fromkeys(_KERNEL_ERRORS, _KERNEL),
    **dict.fromkeys((214, 220, 226, 911), _HARDWARE),
    **dict.fromkeys(range(805, 811), _MPS),
    2: (
        "the GPU's memory is full; see who else uses it (nvidia-smi, on a Jetson tegrastats), or "
        "build with a smaller --size or fewer --prototypes"
    ),
    3: "the driver could not start; restart the machine after a driver update",
    36: "update the NVIDIA driver, on a Jetson JetPack",
    46: "another process may have the GPU for itself (nvidia-smi -c 0), or it fell off the bus",
    100: "no NVIDIA GPU is there; in a container pass --gpus all (or --runtime nvidia)",
    101: "CUDA_VISIBLE_DEVICES may hide the GPU",
    201: "the GPU's context is gone; the engine must be opened again",
    209: "the plan is not for this GPU; remove it from the bundle's engines folder",
    218: "the plan is not for this GPU; remove it from the bundle's engines folder",
    222: "update the NVIDIA driver, on a Jetson JetPack",
    304: _SEE_LOG,
    400: "a CUDA handle of another context; open and use the engine with the same one",
    702: "a kernel ran too long for the display's watchdog; use a GPU without a display",
    709: "somebody in this process reset the GPU; the engine must be opened again",
    800: "this user may not use the GPU; add it to the groups video and render",
    802: "the GPU's services do not run yet (nvidia-fabricmanager, nvidia-persistenced)",
    803: "the driver was updated under this process's feet; restart the machine",
    804: "the CUDA compatibility package is not for this GPU; update the driver instead",
    900: "a call that must not be captured; the engine runs without a CUDA graph",
    901: "the capture was broken; the engine runs without a CUDA graph",
    999: _SEE_LOG,
}
"""What to do about an error, by its number."""


class DeviceLostError(EngineError):
    """No call can succeed any more until the engine is closed and opened again."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA GPU that answered.

    Attributes:
        index: CUDA's number for it.
        name: such as ``NVIDIA GeForce RTX 4070``.
        compute_capability: such as ``sm89``.
        memory_bytes: total.
        integrated: shares its memory with the processor, as on a Jetson.
        driver: CUDA version that the driver supports, such as ``13.0``.
    """

    index: int
    name: str
    compute_capability: str
    memory_bytes: int
    integrated: bool
    driver: str


def runtime() -> Any:
    """The module `cuda.bindings.runtime`, or pycuda in its place; see `back_end`.

    Raises:
        EngineError: neither can be used.
    """
    return _pycuda() if back_end()[0] == PYCUDA else _binding("runtime")


def driver() -> Any:
    """The module `cuda.bindings.driver`, or pycuda in its place; see `back_end`.

    Raises:
        EngineError: neither can be used.
    """
    return _pycuda() if back_end()[0] == PYCUDA else _binding("driver")


def back_end() -> tuple[str, str]:
    """What CUDA is called through here, and why.

    cuda-bindings, which has CUDA graphs; pycuda where that is missing or does not fit the driver.
    The environment variable `PROTOEDGE_CUDA` asks for one of them.

    Raises:
        EngineError: the one that is asked for is unknown or cannot be imported.
    """
    asked = os.environ.get(ASKED, "")
    if asked not in ("", BINDINGS, PYCUDA):
        raise EngineError(f"{ASKED}={asked} is not known; give {BINDINGS} or {PYCUDA}")
    if asked == PYCUDA:
        _pycuda()
    if asked:
        return asked, f"{ASKED}={asked}"
    if find_spec("pycuda") is None:
        return BINDINGS, "pycuda is not installed"
    try:
        problem = int(_binding("runtime").cudaGetDeviceCount()[0]) == NO_DRIVER
    except EngineError:
        return PYCUDA, "cuda-bindings is not installed"
    except RuntimeError:  # no driver's library: pycuda would not find one either
        return BINDINGS, "there is no NVIDIA driver"
    if problem:
        return PYCUDA, f"cuda-bindings does not fit the driver (CUDA error {NO_DRIVER})"
    return BINDINGS, "cuda-bindings has CUDA graphs"


def call(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
    """Call a CUDA function and return what it gives besides its error code.

    Args:
        function: of `runtime()` or `driver()`.
        arguments: handed on in order.

    Returns:
        None, the one value, or the tuple of values.

    Raises:
        DeviceLostError: an error after which every further call fails.
        EngineError: any other error code, with CUDA's description of it and what to do.
    """
    try:
        code, *values = function(*arguments)
    except RuntimeError as error:  # what cuda-bindings raises where there is no driver library
        raise EngineError(f"{function.__name__}: {driver_problem()} ({error})") from error
    if int(code) != 0:
        raise error_from_code(code, function.__name__)
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def error_from_code(code: Any, function: str) -> EngineError:
    """The error for a code that isn't success: `DeviceLostError` where nothing works after it.

    Args:
        code: a ``cudaError_t`` or a ``CUresult``; their numbers are the same where it matters.
        function: that gave it.
    """
    number = int(code)
    if number == NO_DRIVER:
        # CUDA's own words blame the driver's version even where there is no driver at all.
        return EngineError(driver_problem())
    advice = ADVICE.get(number, "")
    text = f"CUDA error {number} in {function}: {_words(code)}" + (f"; {advice}" if advice else "")
    return DeviceLostError(text) if number in LOST else EngineError(text)


@dataclass(frozen=True, slots=True)
class Cuda:
    """The two CUDA libraries as an engine sees them: the one place where others can be put in.

    Attributes:
        runtime: functions and constants of `cuda.bindings.runtime`.
        driver: those of `cuda.bindings.driver`.
    """

    runtime: Any
    driver: Any

    @classmethod
    def installed(cls) -> Cuda:
        """The real ones.

        Raises:
            EngineError: cuda-bindings is not installed.
        """
        return cls(runtime=runtime(), driver=driver())

    def run(self, name: str, *arguments: object) -> Any:
        """Call a function of the runtime, such as ``cudaMalloc``; see `call`."""
        try:
            return call(getattr(self.runtime, name), *arguments)
        except EngineError:
            # The runtime keeps an error until it is asked for, and the next library that asks
            # after its own launch, as TensorRT and torch do, would take it for its own.
            self.runtime.cudaGetLastError()
            raise

    def drive(self, name: str, *arguments: object) -> Any:
        """Call a function of the driver, such as ``cuCtxGetCurrent``; see `call`."""
        return call(getattr(self.driver, name), *arguments)

    def view(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Output:
        """Host memory as an array that doesn't own it; it must not outlive the memory."""
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        memory = memoryview((ctypes.c_uint8 * size).from_address(address))
        host: Output = np.frombuffer(memory, np.uint8).view(kind).reshape(shape)
        return host


def gpus() -> list[Gpu]:
    """All NVIDIA GPUs that CUDA lists; at least one.

    Raises:
        EngineError: there is none, or no driver, or no cuda-bindings.
    """
    cudart = runtime()
    try:
        count = call(cudart.cudaGetDeviceCount)
    except EngineError as error:
        raise EngineError(f"no NVIDIA GPU answered: {error}") from error
    if not count:
        raise EngineError(
            "no NVIDIA GPU answered: CUDA lists none; CUDA_VISIBLE_DEVICES may hide it"
        )
    driver = _version(call(cudart.cudaDriverGetVersion))
    return [_gpu(cudart, index, driver) for index in range(count)]


def _binding(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise EngineError(
            f"cuda-bindings cannot be imported ({error}); {how_to_get_cuda_bindings()}"
        ) from error


@functools.cache
def _pycuda() -> PycudaBinding:
    try:
        return PycudaBinding(importlib.import_module("pycuda.driver"), LibCuda())
    except (ImportError, OSError) as error:
        raise EngineError(
            f"pycuda cannot be imported ({error}); pip install 'protoedge[pycuda]' where the CUDA "
            "toolkit and a driver are"
        ) from error


def _gpu(cudart: Any, index: int, driver: str) -> Gpu:
    found = call(cudart.cudaGetDeviceProperties, index)
    return Gpu(
        index=index,
        name=found.name.decode(errors="replace"),
        compute_capability=f"sm{found.major}{found.minor}",
        memory_bytes=int(found.totalGlobalMem),
        integrated=bool(found.integrated),
        driver=driver,
    )


def driver_problem() -> str:
    """What is wrong with the driver, by its version and the runtime's, and what is possible here.

    On a Jetson the driver comes with JetPack and can't be updated by itself.
    """
    said = f"CUDA error {NO_DRIVER}: "
    driver, wanted = _versions()
    if not driver:
        missing = "there is no NVIDIA driver"
        return f"{said}{missing}; in a container pass --gpus all (or --runtime nvidia)"
    old = f"{said}the driver is for CUDA {_version(driver)}, cuda-bindings for {_version(wanted)}"
    if driver // 1000 < wanted // 1000:
        major = driver // 1000
        least = "12.9.1" if major == 12 else f"{major}.0"
        return f"{old}; pip install 'cuda-bindings>={least},<{major + 1}'"
    if jetpack():
        compat = f"cuda-compat-{_version(wanted).replace('.', '-')}"
        return f"{old}; install NVIDIA's package {compat}, or a newer JetPack"
    return f"{old}; update the NVIDIA driver"


def _versions() -> tuple[int, int]:
    """CUDA versions of driver and runtime, such as 12060 and 13050; 0 for what isn't there."""
    try:
        cudart = runtime()
        found = [cudart.cudaDriverGetVersion(), cudart.cudaRuntimeGetVersion()]
    except (EngineError, RuntimeError):  # what cuda-bindings raises without a driver's library
        return 0, 0
    driver, wanted = (int(version) if not int(code) else 0 for code, version in found)
    return driver, wanted


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _words(code: Any) -> str:
    """CUDA's description of a runtime's error, or the name of a driver's."""
    if hasattr(code, "name") and code.name.startswith("CUDA_"):
        return str(code.name)
    if isinstance(code, Code):
        return code.words
    problem, text = _binding("runtime").cudaGetErrorString(code)
    return text.decode(errors="replace") if int(problem) == 0 and text else str(code)
