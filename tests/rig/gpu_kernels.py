"""Two small kernels and a stand-in for TensorRT that launches them on a real GPU.

So all of the runtime but NVIDIA's library runs where there is a GPU without TensorRT. The kernels
are compiled by NVRTC, which needs no GPU.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np
from cuda.bindings import nvrtc
from fake_tensorrt import Context, Engine, FakeTensorRt

from engines.cuda import Cuda, call
from engines.errors import EngineError

SOURCE = rb"""
extern "C" __global__ void maps(const unsigned char* image, float* map, int pixels) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += gridDim.x * blockDim.x)
        map[i] = (float(image[3 * i]) + float(image[3 * i + 1]) + float(image[3 * i + 2]))
            / 3.0f / 255.0f;
}

extern "C" __global__ void scores(const float* map, float* score, int plane) {
    __shared__ float best[256];
    const float* own = map + blockIdx.x * plane;
    float most = own[0];
    for (int i = threadIdx.x; i < plane; i += blockDim.x) most = fmaxf(most, own[i]);
    best[threadIdx.x] = most;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half)
            best[threadIdx.x] = fmaxf(best[threadIdx.x], best[threadIdx.x + half]);
        __syncthreads();
    }
    if (threadIdx.x == 0) score[blockIdx.x] = best[0];
}

extern "C" __global__ void slowly(float* scratch, int rounds) {
    float value = threadIdx.x;
    for (int i = 0; i < rounds; i++) value = value * 0.999f + 1.0f;
    scratch[threadIdx.x] = value;
}

extern "C" __global__ void astray(int* nowhere) { *nowhere = 1; }
"""
_P, _I = ctypes.c_void_p, ctypes.c_int
KINDS = {"maps": (_P, _P, _I), "scores": (_P, _P, _I), "slowly": (_P, _I), "astray": (_P,)}
"""Types of the kernels' arguments."""
THREADS = 256


def why_no_nvrtc() -> str:
    """Why kernels can't be compiled here; empty if they can."""
    try:
        call(nvrtc.nvrtcVersion)
    except EngineError as error:  # the library is not there
        return f"no NVRTC: {error}"
    return ""


def compiled(architecture: str) -> bytes:
    """The kernels as native code for ``sm_90``, or PTX for ``compute_80``."""
    program = call(nvrtc.nvrtcCreateProgram, SOURCE, b"kernels.cu", 0, [], [])
    options = [f"--gpu-architecture={architecture}".encode(), b"--fmad=false"]
    (code,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(code) != 0:
        text = b" " * call(nvrtc.nvrtcGetProgramLogSize, program)
        call(nvrtc.nvrtcGetProgramLog, program, text)
        raise AssertionError(text.decode())
    native = architecture.startswith("sm_")
    size = nvrtc.nvrtcGetCUBINSize if native else nvrtc.nvrtcGetPTXSize
    image = b" " * call(size, program)
    call(nvrtc.nvrtcGetCUBIN if native else nvrtc.nvrtcGetPTX, program, image)
    call(nvrtc.nvrtcDestroyProgram, program)
    return image


class KernelTensorRt(FakeTensorRt):
    """A `FakeTensorRt` whose plans run on the GPU whose context is current.

    Args:
        cuda: the real libraries.
        options: of `FakeTensorRt`.

    Attributes:
        rounds: how long a plan works besides.
    """

    def __init__(self, cuda: Cuda, **options: Any) -> None:
        super().__init__(None, **options)
        self.cuda = cuda
        self.rounds = 0
        self.kernels: dict[str, Any] = {}

    def load(self) -> None:
        """In the context that is current."""
        device = int(self.cuda.drive("cuCtxGetDevice"))
        found = self.cuda.run("cudaGetDeviceProperties", device)
        module = self.cuda.drive("cuModuleLoadData", compiled(f"sm_{found.major}{found.minor}"))
        self.kernels = {
            name: self.cuda.drive("cuModuleGetFunction", module, name.encode()) for name in KINDS
        }

    def launch(self, name: str, blocks: int, stream: int, *arguments: Any) -> None:
        grid, block = (blocks, 1, 1), (THREADS, 1, 1)
        given = (arguments, KINDS[name])
        kernel = self.kernels[name]
        self.cuda.drive("cuLaunchKernel", kernel, *grid, *block, 0, stream, given, 0)

    def engine_for(self, runtime: Any) -> Any:
        self.load()
        return KernelEngine(self, runtime)

    def memory(self, owner: Any, size: int) -> int:
        address = int(self.cuda.run("cudaMalloc", size))
        weakref.finalize(owner, self.cuda.runtime.cudaFree, address).atexit = False
        return address


class KernelEngine(Engine):
    def create_execution_context(self, config: Any = None) -> Any:
        self.trt.contexts_made += 1
        return KernelContext(self, config)


class KernelContext(Context):
    def execute_async_v3(self, stream_handle: int) -> bool:
        trt, at = self.trt, self.addresses
        batch, height, width, _ = self.engine.tensors["image"][2]
        pixels = batch * height * width
        try:
            if trt.rounds:
                trt.launch("slowly", 1, stream_handle, self.scratch, trt.rounds)
            if trt.refuse:
                trt.launch("astray", 1, stream_handle, 0x7F00_0000_0000)
            blocks = min(1024, -(-pixels // THREADS))
            trt.launch("maps", blocks, stream_handle, at["image"], at["anomaly_map"], pixels)
            plane = height * width
            trt.launch("scores", batch, stream_handle, at["anomaly_map"], at["pred_score"], plane)
        except EngineError as error:
            self.engine._runtime.log.log(trt.ILogger.ERROR, str(error))
            return False
        return True


def rounded(values: np.ndarray) -> np.ndarray:
    """To compare with: a GPU's and numpy's sums may differ in the last bit."""
    return np.round(values, 5)
