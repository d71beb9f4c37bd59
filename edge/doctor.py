"""What this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from engines.choose import ENGINES, choose_engine, installed_version
from engines.cpu.processor import BF16_INSTRUCTIONS, INSTRUCTIONS, cpu_instructions, cpu_name
from engines.cuda import ASKED, PYCUDA, back_end, gpus
from engines.errors import EngineError
from engines.installing import driver_release
from engines.jetson import jetpack, tegra_release
from engines.plans.flavours import MODULES, RTX, import_flavour, unsupported_gpu_reason

Status = Literal["ok", "warn", "fail"]
LITTLE_DISK = 1 << 30
OLDEST_PYTHON = (3, 10)
OLD_NUMPY_JETPACK = 6
"""Whose OpenCV was built for numpy 1."""
SYSTEM_PACKAGES = "make the venv with --system-site-packages"
HIDDEN = "see whether CUDA_VISIBLE_DEVICES or the container hides the GPU; nvidia-smi lists it"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: ``fail``: protoedge can't work; ``warn``: something will be missing or slow.
        detail: what was found, one line.
        fix: what to do; empty if nothing.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The check as JSON types."""
        return asdict(self)


def examine() -> list[Check]:
    """Look at everything that decides what protoedge can do here; never raises."""
    return [
        _python(),
        _protoedge(),
        *_libraries(),
        *_opencv(),
        _display(),
        _cpu(),
        _gpu(),
        *_cuda(),
        *(_tensorrt(flavour) for flavour in MODULES),
        *(_engine(name) for name in ENGINES),
        _auto(),
        _disk(),
        *_jetson(),
    ]


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("python", "fail", version, "install Python 3.10 or newer")
    return Check("python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def _protoedge() -> Check:
    version = installed_version("protoedge")
    if not version:
        return Check("protoedge", "warn", "runs from source", "pip install -e . in its checkout")
    return Check("protoedge", "ok", version)


def _libraries() -> list[Check]:
    checks = []
    for name, fix in (
        ("onnx", "pip install 'onnx>=1.21'"),
        ("onnxruntime", "pip install onnxruntime"),
        ("openvino", "pip install 'protoedge[cpu]'"),
        ("av", "pip install av; it reads videos and network cameras"),
    ):
        version = installed_version(name)
        missing: Status = "warn" if name == "openvino" else "fail"
        checks.append(
            Check(name, "ok", version) if version else Check(name, missing, "not installed", fix)
        )
    return checks


def _opencv() -> list[Check]:
    try:
        import cv2
    except (ImportError, OSError) as error:
        fix = "pip install opencv-python; a server without libGL needs opencv-python-headless"
        if tegra_release():
            fix = f"sudo apt install libopencv-python; {SYSTEM_PACKAGES}"
        return [Check("opencv", "fail", f"cannot be imported: {error}", fix)]
    build = cv2.getBuildInformation()
    gui = _build_line(build, "GUI") or "NONE"
    return [
        Check("opencv", "ok", f"{cv2.__version__} from {Path(cv2.__file__).parent}"),
        _part_of_opencv("webcams", "V4L2", found=_build_has(build, "v4l/v4l2")),
        _part_of_opencv("overlay videos", "FFmpeg", found=_build_has(build, "FFMPEG")),
        _gstreamer(_build_has(build, "GStreamer")),
        _part_of_opencv("windows", f"windows ({gui})", found=gui.upper() != "NONE"),
    ]


def _part_of_opencv(name: str, part: str, *, found: bool) -> Check:
    """What needs a part that some builds of OpenCV leave out."""
    if found:
        return Check(name, "ok", f"OpenCV has {part}")
    fix = "pip install opencv-python, in place of its headless sibling or another build"
    if tegra_release():
        fix = "do without, or pip install opencv-python and do without csi:// and gst:"
    return Check(name, "warn", f"this OpenCV has no {part}: no {name}", fix)


def _gstreamer(found: bool) -> Check:
    """Only CSI cameras need it; the pip OpenCV never has it."""
    if found:
        return Check("gstreamer", "ok", "OpenCV has GStreamer: csi:// and gst: work")
    if tegra_release():
        fix = f"use JetPack's OpenCV: pip uninstall opencv-python; {SYSTEM_PACKAGES}"
        return Check("gstreamer", "warn", "this OpenCV has no GStreamer: no csi://, no gst:", fix)
    return Check("gstreamer", "ok", "OpenCV has no GStreamer; only csi:// and gst: would need it")


def _build_line(build: str, name: str) -> str:
    found = re.search(rf"^\s*{re.escape(name)}:\s*(\S+)", build, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _build_has(build: str, name: str) -> bool:
    return _build_line(build, name).upper().startswith("YES")


def _display() -> Check:
    found = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if found:
        return Check("display", "ok", found)
    return Check("display", "ok", "none: `edge stream` runs with --no-show")


def _cpu() -> Check:
    flags = cpu_instructions()
    found = [name for name in INSTRUCTIONS if name in flags]
    detail = f"{cpu_name()}, {os.cpu_count()} cores: {' '.join(found) or 'none of note'}"
    if platform.machine() == "x86_64" and "avx2" not in flags:
        return Check("cpu", "warn", detail, "without AVX2 the CPU engines are slow")
    if BF16_INSTRUCTIONS & flags:
        detail += "; --precision fp16 runs as bf16"
    return Check("cpu", "ok", detail)


def _gpu() -> Check:
    try:
        found = gpus()
    except EngineError as error:
        problem, _, fix = str(error).partition("; ")  # it says what is possible here
        if _has_driver():
            return Check("gpu", "warn", problem, fix or HIDDEN)
        return Check("gpu", "ok", f"none, and the CPU engines need none: {problem}", fix)
    release = driver_release()
    told = [
        f"{f'{gpu.index}: ' if len(found) > 1 else ''}{gpu.name} "
        f"({gpu.compute_capability}, {gpu.memory_bytes / (1 << 30):.0f} GiB"
        f"{' shared' if gpu.integrated else ''}), driver {release + ' ' if release else ''}"
        f"for CUDA {gpu.driver}"
        for gpu in found
    ]
    return Check("gpu", "ok", "; ".join(told))


def _cuda() -> list[Check]:
    """What CUDA is called through, where there is a GPU; pycuda costs launches."""
    try:
        chosen, why = back_end()
        gpus()
    except EngineError as error:
        asked = ASKED in os.environ
        return [Check("cuda", "fail", str(error), f"unset {ASKED}")] if asked else []
    graphs = ", call by call as it has no CUDA graphs" if chosen == PYCUDA else ""
    return [Check("cuda", "ok", f"through {chosen}{graphs}: {why}")]


def _has_driver() -> bool:
    """Whether there is a GPU to be used, by the look of it."""
    return bool(driver_release() or tegra_release())


def _tensorrt(flavour: str) -> Check:
    if find_spec(MODULES[flavour]) is None:
        return Check(flavour, "ok", "not installed; only NVIDIA GPUs need it")
    try:
        version = import_flavour(flavour).__version__
    except EngineError as error:
        problem, _, hint = str(error).partition("; ")  # on a Jetson it names the package
        fix = hint if hint and tegra_release() else ENGINES[flavour].how_to_get()
        return Check(flavour, "warn", problem, fix)
    return Check(flavour, "ok", str(version))


def _engine(name: str) -> Check:
    problem = ENGINES[name].unavailable_reason()
    if problem is None:
        return Check(f"engine {name}", "ok", "works here")
    status: Status = "ok" if name in MODULES else "warn"
    return Check(f"engine {name}", status, f"not here: {problem}", ENGINES[name].how_to_get())


def _auto() -> Check:
    try:
        choice = choose_engine()
    except EngineError as error:
        return Check("engine auto", "fail", str(error), "pip install 'protoedge[cpu]'")
    if choice.name not in MODULES and _has_driver():
        return Check("engine auto", "warn", choice.reason, _way_to_the_gpu())
    return Check("engine auto", "ok", choice.reason)


def _way_to_the_gpu() -> str:
    """What to do so that the GPU that is here is used."""
    try:
        found = gpus()[0]
    except EngineError:
        return "do what is said of `gpu`, then run `edge doctor` again"
    ways = [
        ENGINES[name].how_to_get()
        for name in MODULES
        if find_spec(MODULES[name]) is None
        and unsupported_gpu_reason(name, found.compute_capability) is None
        and not (name == RTX and tegra_release())
    ]
    return ", or ".join(ways) or "do what is said of `tensorrt`, then run `edge doctor` again"


def _disk() -> Check:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    detail = f"{free / (1 << 30):.1f} GiB free in {here}"
    if free < LITTLE_DISK:
        return Check("disk", "warn", detail, "free some space: recordings and plans need it")
    return Check("disk", "ok", detail)


def _jetson() -> list[Check]:
    release = tegra_release()
    if not release:
        return []
    found = _first_version("nvidia-jetpack") or f"JetPack {jetpack() or 'of an unknown version'}"
    checks = [Check("jetson", "ok", f"{found}: {release}")]
    if jetpack() == OLD_NUMPY_JETPACK and not installed_version("numpy").startswith("1."):
        fix = "pip install -c constraints/jetpack6.txt 'protoedge[jetpack6]'"
        detail = "JetPack 6's OpenCV does not import beside numpy 2"
        checks.append(Check("jetson numpy", "warn", detail, fix))
    shadows = [name for name in ("opencv-python", "opencv-contrib-python") if _is_pip(name)]
    if shadows:
        checks.append(
            Check(
                "jetson opencv",
                "warn",
                f"pip's {shadows[0]} hides the system's OpenCV, which has GStreamer",
                f"pip uninstall {shadows[0]}; {SYSTEM_PACKAGES}",
            )
        )
    return checks


def _first_version(package: str, status: Path = Path("/var/lib/dpkg/status")) -> str:
    """Version of an installed Debian package, without starting dpkg."""
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^Package: {re.escape(package)}$.*?^Version: (\S+)", text, re.M | re.S)
    return f"JetPack {found[1]}" if found else ""


def _is_pip(distribution: str) -> bool:
    try:
        return (metadata.distribution(distribution).read_text("INSTALLER") or "").strip() != ""
    except metadata.PackageNotFoundError:
        return False
