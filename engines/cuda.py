"""The CUDA runtime through cuda-bindings: every error code becomes an `EngineError` here.

cuda-bindings imports on a machine without a GPU or driver and says so with error 35 (no driver, or
one older than the runtime) or 100 (no device).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines.errors import EngineError

MIB = 1 << 20
NO_DRIVER = 35


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
    try:
        from cuda.bindings import runtime as found
    except ImportError as error:
        raise EngineError(
            f"cuda-bindings cannot be imported ({error}); pip install cuda-bindings"
        ) from error
    return found


def call(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
    """Call a CUDA runtime function and return what it gives besides its error code.

    Args:
        function: of `runtime()`.
        arguments: handed on in order.

    Returns:
        None, the one value, or the tuple of values.

    Raises:
        EngineError: any error code but success, with CUDA's name and description of it.
    """
    code, *values = function(*arguments)
    if int(code) != 0:
        raise EngineError(_described(code, function.__name__))
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


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


def _described(code: Any, function: str) -> str:
    """``CUDA error 2 in cudaMalloc: out of memory``."""
    if int(code) == NO_DRIVER:
        # CUDA's own words blame the driver's version even where there is no driver at all.
        return f"CUDA error {NO_DRIVER}: there is no NVIDIA driver, or it is too old"
    problem, text = runtime().cudaGetErrorString(code)
    known = text.decode(errors="replace") if int(problem) == 0 and text else str(code)
    return f"CUDA error {int(code)} in {function}: {known}"
