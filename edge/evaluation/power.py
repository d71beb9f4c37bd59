"""How much energy a device used, where it tells.

Intel's and AMD's processors count it (RAPL, read through Linux' powercap, mostly by root alone),
NVIDIA's GPUs since Volta do (NVML), and a Jetson's carrier has a power monitor (INA3221) at its
input. All of them measure the whole device, with everything else that runs there.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
HWMON = Path("/sys/class/hwmon")
JETSON_INPUT = "VDD_IN"
SAMPLE_S = 0.02


@dataclass(slots=True)
class Energy:
    """What was used during a `metered` block.

    Attributes:
        joules: None where the device doesn't tell.
        source: who measured it, or why nobody did.
        seconds: the block's duration; 0 until it ends.
    """

    joules: float | None
    source: str
    seconds: float = 0.0

    @property
    def watts(self) -> float | None:
        """Mean power; None where it is unknown."""
        return self.joules / self.seconds if self.joules is not None and self.seconds else None


@contextmanager
def metered(*, gpu: bool) -> Iterator[Energy]:
    """Measure the energy that the block uses; the record is complete at its end.

    Args:
        gpu: the work runs on an NVIDIA GPU, on a CPU otherwise.
    """
    energy = Energy(None, "")
    begun = time.perf_counter()
    jetson = _jetson_rail(HWMON)
    if jetson is not None:
        with _sampled(jetson) as joules:
            yield energy
            energy.seconds = time.perf_counter() - begun
        energy.joules, energy.source = joules(), f"{JETSON_INPUT}, the whole module"
        return
    read, energy.source = _gpu_counter() if gpu else _cpu_counter(POWERCAP)
    before = read() if read else None
    try:
        yield energy
    finally:
        energy.seconds = time.perf_counter() - begun
    after = read() if read else None
    if before is not None and after is not None and after >= before:  # counters may wrap around
        energy.joules = after - before
    elif read:
        energy.source = f"not readable ({energy.source}: no count)"


Counter = Callable[[], float | None]


def _cpu_counter(powercap: Path) -> tuple[Counter | None, str]:
    """Joules of all processor packages, or why they cannot be read."""
    files = _found(powercap, "intel-rapl:[0-9]*/energy_uj")
    files = [file for file in files if file.parent.name.count(":") == 1]
    if not files:
        return None, "not readable (this processor or system has no energy counter)"

    def read() -> float | None:
        try:
            return sum(int(file.read_text()) for file in files) / 1e6
        except (OSError, ValueError):
            return None

    if read() is None:
        return None, f"not readable ({files[0]}: for root alone)"
    return read, "RAPL, the whole processor"


def _gpu_counter() -> tuple[Counter | None, str]:
    """Joules of the first GPU, or why they cannot be read."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None, "not readable (no NVIDIA driver)"
    device = ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        return None, "not readable (NVML finds no GPU)"

    def read() -> float | None:
        millijoules = ctypes.c_ulonglong()
        failed = nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules))
        return None if failed else millijoules.value / 1e3

    if read() is None:
        return None, "not readable (this GPU has no energy counter)"
    return read, "NVML, the whole GPU"


def _jetson_rail(hwmon: Path) -> tuple[Path, Path] | None:
    """Files with the input's voltage in mV and current in mA, or None."""
    for label in _found(hwmon, "hwmon*/in*_label"):
        try:
            found = label.read_text().strip() == JETSON_INPUT
        except OSError:
            continue  # a sensor that went away
        number = label.name.removeprefix("in").removesuffix("_label")
        voltage = label.with_name(f"in{number}_input")
        current = label.with_name(f"curr{number}_input")
        if found and voltage.exists() and current.exists():
            return voltage, current
    return None


def _found(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except PermissionError:
        return []  # closed to this user: the same as none


@contextmanager
def _sampled(rail: tuple[Path, Path]) -> Iterator[Counter]:
    """Sample a rail's power in a thread; yields what gives the joules after the block."""
    done = threading.Event()
    watts: list[float] = []
    begun = time.perf_counter()
    ended = [begun]

    def sample() -> None:
        while not done.is_set():
            try:
                volt, ampere = (int(file.read_text()) / 1e3 for file in rail)
                watts.append(volt * ampere)
            except (OSError, ValueError):
                pass  # one sample less; without any the result is None
            done.wait(SAMPLE_S)

    thread = threading.Thread(target=sample, name="power", daemon=True)
    thread.start()
    try:
        yield lambda: sum(watts) / len(watts) * (ended[0] - begun) if watts else None
    finally:
        ended[0] = time.perf_counter()
        done.set()
        thread.join()
