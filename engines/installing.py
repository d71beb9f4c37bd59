"""How each TensorRT is had on this machine: what is told must be possible here.

Two things decide it: a Jetson has its TensorRT from JetPack, and elsewhere the packages must be of
the CUDA major version that the driver is for. The driver's release says which, without any library.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

from engines.jetson import jetpack, tegra_release

DRIVER = Path("/proc/driver/nvidia/version")
FIRST_RELEASE_OF_CUDA = {13: 580, 12: 525}
"""The first release of NVIDIA's Linux driver for each CUDA major version, newest first."""
OLDEST_L4T = (36, 4)
"""NVIDIA's Linux for Tegra of JetPack 6.1; 6.0 has an older one, and TensorRT 8."""
NEWER_JETPACK = "install JetPack 6.1 or newer, whose TensorRT is the first that will do"


def driver_release(told: Path | None = None) -> str:
    """The NVIDIA driver's release, such as ``580.95.05``; empty if no driver is loaded."""
    try:
        text = (told or DRIVER).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"Kernel Module.*?\s(\d{3,}\.\d+(?:\.\d+)?)", text)
    return found[1] if found else ""


def cuda_of_driver() -> int:
    """CUDA major version that the driver is for; 0 if there is none, or one of CUDA 11."""
    release = driver_release()
    first = int(release.split(".")[0]) if release else 0
    return next((cuda for cuda, since in FIRST_RELEASE_OF_CUDA.items() if first >= since), 0)


def how_to_get_cuda_bindings() -> str:
    """What to do to have cuda-bindings here: its major version must be the driver's."""
    if tegra_release() and _l4t() < OLDEST_L4T:
        return NEWER_JETPACK
    if jetpack():
        return f"pip install 'protoedge[jetpack{jetpack()}]'"
    ways = {13: "'cuda-bindings>=13,<14'", 12: "'cuda-bindings>=12.9.1,<13'"}
    known = ways.get(cuda_of_driver(), f"{ways[13]}, or {ways[12]} for CUDA 12")
    return f"pip install {known}"


def how_to_get_tensorrt() -> str:
    """What to do to have the engine ``tensorrt`` here."""
    if tegra_release():
        if _l4t() < OLDEST_L4T:
            return NEWER_JETPACK
        return "sudo apt install python3-libnvinfer; make the venv with --system-site-packages"
    return _packages("tensorrt", "an NVIDIA GPU")


def how_to_get_rtx() -> str:
    """What to do to have the engine ``tensorrt-rtx`` here."""
    if tegra_release():
        return "nothing: it is for desktops, and a Jetson has tensorrt"
    return _packages("rtx", "an NVIDIA RTX GPU")


def how_to_compile_rtx() -> str:
    """What to do to compile plans with TensorRT-RTX, which needs no GPU."""
    if platform.machine() != "x86_64":
        return f"there is no tensorrt-rtx for {platform.machine()}: compile on an x86-64 machine"
    return f"pip install 'protoedge[rtx-cu{cuda_of_driver() or max(FIRST_RELEASE_OF_CUDA)}]'"


def _l4t() -> tuple[int, int]:
    found = re.match(r"R(\d+).*REVISION: (\d+)", tegra_release())
    return (int(found[1]), int(found[2])) if found else OLDEST_L4T


def _packages(extra: str, gpu: str) -> str:
    if not driver_release():
        return f"it needs {gpu} and its driver; docs/gpu_install.md says what to install then"
    cuda = cuda_of_driver()
    if not cuda:
        oldest = min(FIRST_RELEASE_OF_CUDA.values())
        return f"update the NVIDIA driver {driver_release()}: {oldest} is the first that will do"
    return f"pip install 'protoedge[{extra}-cu{cuda}]'"
