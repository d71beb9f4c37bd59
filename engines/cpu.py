"""What this machine's processor is called and which instructions it has."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
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
