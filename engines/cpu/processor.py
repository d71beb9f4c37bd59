"""This machine's processor: its name, its instructions, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
TOPOLOGY = Path("/sys/devices/system/cpu")
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""x86 instruction sets that decide how fast a CPU engine is; names as in ``/proc/cpuinfo``."""
BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})


@cache
def _cpuinfo() -> dict[str, str]:
    """First value of every key in ``/proc/cpuinfo``; empty where there is none."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            found.setdefault(key.strip(), value.strip())
    return found


def cpu_name() -> str:
    """The processor's model, such as ``AMD EPYC 9755``, or its architecture if it has no name."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_instructions() -> frozenset[str]:
    """Flags of the processor: ``flags`` on x86, ``Features`` on Arm."""
    info = _cpuinfo()
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def usable_cores() -> int:
    """Physical cores that this process may keep busy, at least 1.

    The smaller of the cores that its affinity allows, two threads of one core counted once, and
    of the processor time that its control group grants, such as ``docker run --cpus 2``. More
    threads than that wait for one another.
    """
    granted = granted_cpus()
    cores = physical_cores()
    return cores if granted is None else max(1, min(cores, math.ceil(granted)))


def physical_cores(topology: Path = TOPOLOGY) -> int:
    """Cores that this process's affinity allows; where the system doesn't tell, its threads."""
    allowed = _affinity()
    cores = set()
    for cpu in allowed:
        try:
            text = (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
        except OSError:
            return len(allowed)
        cores.add(text.strip())
    return max(1, len(cores))


def granted_cpus(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> float | None:
    """Processors' worth of time that the control groups grant; None without a limit.

    Version 2 (``cpu.max``, the tightest of the group and those above it) and version 1
    (``cpu.cfs_quota_us``). Inside a container the group's own path may not exist: its root is then
    what is mounted.
    """
    limits = [_version_2(folder / "cpu.max") for folder in _folders(groups, own, "")]
    for controller in ("cpu", "cpu,cpuacct"):
        limits += [_version_1(folder) for folder in _folders(groups / controller, own, "cpu")]
    found = [limit for limit in limits if limit is not None]
    return min(found) if found else None


def _affinity() -> set[int]:
    try:
        return set(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return set(range(os.cpu_count() or 1))


def _folders(root: Path, own: Path, controller: str) -> list[Path]:
    """`root` and every folder down to this process's group."""
    folders = [root]
    for part in _own_path(own, controller).strip("/").split("/"):
        if part not in ("", ".."):
            folders.append(folders[-1] / part)
    return folders


def _own_path(own: Path, controller: str) -> str:
    """This process's group: lines are ``0::/path`` (version 2) or ``4:cpu,cpuacct:/path``."""
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if controller in controllers.split(","):
            return path
    return ""


def _version_2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # not this version, or no limit at this level


def _version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None  # not this version, or no limit at this level
