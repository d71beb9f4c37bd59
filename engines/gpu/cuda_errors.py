"""What to do about CUDA's errors, by number; `engines.gpu.cuda` is the one place that looks here.

The numbers are those of ``cudaError_t`` and, where it has the same error, of ``CUresult``. CUDA's
documentation says of each in `LOST` that the process or the device can't go on with it.
"""

from __future__ import annotations

NO_DRIVER = 35

_SEE_LOG = "look for NVRM and Xid in the kernel's log (dmesg)"
_KERNEL = (
    f"a kernel went wrong and this process's GPU context with it; {_SEE_LOG}, and if it comes "
    "back build the plan again and report it"
)
_HARDWARE = f"the GPU's hardware failed; {_SEE_LOG}, reset it (nvidia-smi -r) or replace it"
_MPS = "restart the MPS server (nvidia-cuda-mps-control) or run without it"

LOST: frozenset[int] = frozenset(
    {
        46,  # the GPU is off the bus, or another process has it for itself
        201,  # the context is not there, or no longer
        214,  # an error of the memory that ECC could not correct
        220,  # NVLink
        226,  # contained by the hardware, at this process's cost
        700,
        702,
        709,  # somebody destroyed the context: another library's cudaDeviceReset
        710,
        714,
        715,
        716,
        717,
        718,
        719,
        721,
        805,
        806,
        807,
        810,
        911,  # an external device, in the same way as 719
        999,
    }
)
"""After these every further call fails until the context is made anew, or the process is."""

ADVICE: dict[int, str] = {
    2: (
        "the GPU's memory is full; see who else uses it (nvidia-smi, on a Jetson tegrastats), or "
        "build with a smaller --size or fewer --prototypes"
    ),
    3: "the driver could not start; restart the machine after a driver update",
    NO_DRIVER: "there is no NVIDIA driver, or it is too old",
    36: "update the NVIDIA driver",
    46: "another process may have the GPU for itself (nvidia-smi -c 0), or it fell off the bus",
    100: "no NVIDIA GPU is there; in a container pass --gpus all (or --runtime nvidia)",
    101: "CUDA_VISIBLE_DEVICES may hide the GPU",
    201: "the GPU's context is gone; the engine must be opened again",
    209: "the plan is not for this GPU; remove it from the bundle's engines folder",
    214: _HARDWARE,
    218: "the plan is not for this GPU; remove it from the bundle's engines folder",
    220: _HARDWARE,
    222: "update the NVIDIA driver",
    226: _HARDWARE,
    304: _SEE_LOG,
    400: "a CUDA handle of another context; open and use the engine with the same one",
    700: _KERNEL,
    702: "a kernel ran too long for the display's watchdog; use a GPU without a display",
    709: "somebody in this process reset the GPU; the engine must be opened again",
    710: _KERNEL,
    714: _KERNEL,
    715: _KERNEL,
    716: _KERNEL,
    717: _KERNEL,
    718: _KERNEL,
    719: _KERNEL,
    721: _KERNEL,
    800: "this user may not use the GPU; add him to the groups video and render",
    802: "the GPU's services do not run yet (nvidia-fabricmanager, nvidia-persistenced)",
    803: "the driver was updated under this process's feet; restart the machine",
    804: "the CUDA compatibility package is not for this GPU; update the driver instead",
    805: _MPS,
    806: _MPS,
    807: _MPS,
    808: _MPS,
    809: _MPS,
    810: _MPS,
    900: "a call that must not be captured; the engine runs without a CUDA graph",
    901: "the capture was broken; the engine runs without a CUDA graph",
    911: _HARDWARE,
    999: _SEE_LOG,
}
