"""Which GPU and which of its contexts an engine's calls go to, shared with whoever was there first.

CUDA's calls go to the context that is current in the calling thread. pycuda, CuPy and torch each
have their habits about it; an engine makes its own current for the length of each call and leaves
the thread as it was.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from engines.cuda import Cuda, DeviceLostError
from engines.errors import EngineError

_LOCK = threading.Lock()
_OPEN: Counter[int] = Counter()
"""Devices that are open in this process, by the GPU's number."""
_OURS: dict[int, bool] = {}
"""Whether nobody had made a GPU's primary context yet when the first engine of this process came.

Asked once: it stays active after our last engine, as the CUDA runtime holds it too.
"""


@dataclass(frozen=True, slots=True)
class Home:
    """Where an engine works, so that one that is opened again works there too.

    Attributes:
        index: CUDA's number of the GPU.
        guest_of: address of somebody else's context, as `pycuda.autoinit` makes one; 0 is the
            GPU's primary context.
    """

    index: int
    guest_of: int = 0


class GpuContext:
    """A GPU's context, current inside ``with device:``; blocks may be nested and in any thread.

    The context that is current where it is made is the one that it uses, so arrays of pycuda,
    CuPy and torch are at home in the engine. Where none is current it is the primary context of
    GPU 0, which those share among each other.

    Args:
        cuda: the libraries.
        home: where to be, whatever is current; None asks what is.

    Attributes:
        home: where it is.
        index: CUDA's number of the GPU.
        context: address of the context.
        maps_input: the GPU shares the host's memory, so images need no upload (Jetson).

    Raises:
        EngineError: no driver, no GPU, or the context cannot be had.
    """

    def __init__(self, cuda: Cuda, home: Home | None = None) -> None:
        self._cuda = cuda
        self._open = False
        cuda.drive("cuInit", 0)
        current = home.guest_of if home is not None else int(cuda.drive("cuCtxGetCurrent"))
        if home is not None:
            self.index = home.index
        else:
            self.index = int(cuda.drive("cuCtxGetDevice")) if current else 0
        with _LOCK:
            _, active = cuda.drive("cuDevicePrimaryCtxGetState", self.index)
            primary = int(cuda.drive("cuDevicePrimaryCtxRetain", self.index))
            _OURS.setdefault(self.index, not active)
            _OPEN[self.index] += 1
            self._open = True
        # A context of its own, as `pycuda.autoinit` makes, is its owner's to keep alive.
        self.context = current or primary
        self.home = Home(self.index, self.context if self.context != primary else 0)
        try:
            found = cuda.run("cudaGetDeviceProperties", self.index)
        except EngineError:
            self.close()
            raise
        self.maps_input = bool(found.integrated) and bool(found.canMapHostMemory)

    def close(self, *, lost: bool = False) -> None:
        """Let go of the context; a second call does nothing.

        Args:
            lost: nothing works in it any more. It is made anew unless another engine or
                somebody who was here before us has it; what they hold fails as it did before.
        """
        if not self._open:
            return
        self._open = False
        with _LOCK:
            _OPEN[self.index] -= 1
            last = not _OPEN[self.index]
            try:
                self._cuda.drive("cuDevicePrimaryCtxRelease", self.index)
                if lost and last and _OURS[self.index]:
                    # Releasing is not enough: the CUDA runtime may hold the context as well.
                    self._cuda.run("cudaSetDevice", self.index)
                    self._cuda.run("cudaDeviceReset")
            except DeviceLostError:
                if not lost:
                    raise

    def __enter__(self) -> GpuContext:
        self._cuda.drive("cuCtxPushCurrent", self.context)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            self._cuda.drive("cuCtxPopCurrent")
        except EngineError:
            if error is None:
                raise  # else the first error tells more
