"""CUDA through cuda-bindings: every error code of every call becomes an `EngineError` here.

    EngineError
        DeviceLostError    the GPU or this process's context on it is gone; open the engine again

cuda-bindings imports on a machine without a GPU or driver and says so with error 35 (no driver, or
one older than the runtime) or 100 (no device).
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.engine import Output
from engines.errors import EngineError
from engines.gpu.cuda_errors import ADVICE, LOST, NO_DRIVER

MIB = 1 << 20


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
    """The module `cuda.bindings.runtime`.

    Raises:
        EngineError: it is not installed.
    """
    return _binding("runtime")


def driver() -> Any:
    """The module `cuda.bindings.driver`.

    Raises:
        EngineError: it is not installed.
    """
    return _binding("driver")


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
        raise EngineError(f"{function.__name__}: {_described_as(NO_DRIVER)} ({error})") from error
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
        return EngineError(_described_as(number))
    advice = ADVICE.get(number, "")
    told = f"CUDA error {number} in {function}: {_words(code)}" + (f"; {advice}" if advice else "")
    return DeviceLostError(told) if number in LOST else EngineError(told)


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
        raise EngineError(f"no NVIDIA GPU answered ({error})") from error
    if not count:
        raise EngineError("no NVIDIA GPU answered (CUDA lists none)")
    version = call(cudart.cudaDriverGetVersion)
    driver = f"{version // 1000}.{version % 1000 // 10}"
    return [_gpu(cudart, index, driver) for index in range(count)]


def _binding(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise EngineError(
            f"cuda-bindings cannot be imported ({error}); pip install cuda-bindings"
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


def _described_as(number: int) -> str:
    return f"CUDA error {number}: {ADVICE[number]}"


def _words(code: Any) -> str:
    """CUDA's description of a runtime's error, or the name of a driver's."""
    if hasattr(code, "name") and code.name.startswith("CUDA_"):
        return str(code.name)
    problem, text = runtime().cudaGetErrorString(code)
    return text.decode(errors="replace") if int(problem) == 0 and text else str(code)
