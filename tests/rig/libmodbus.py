"""The PLC on libmodbus (`plc.c`): compiled here, and told what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.plc.modbus.bridge import ModbusBridge

SOURCE = Path(__file__).with_name("plc.c")
NOTHING_WRONG = {
    "mismatched": 0,
    "torn": 0,
    "stale": 0,
    "duplicates": 0,
    "gaps": 0,
    "wrong": 0,
    "untoggled": 0,
    "timeouts": 0,
    "frozen": 0,
    "reboots": 0,
    "faults": 0,
}


def compiled_plc(folder: Path) -> Path:
    """The program; skips the test where there is no compiler or no libmodbus."""
    if not (shutil.which("cc") and shutil.which("pkg-config")):
        pytest.skip("no C compiler or no pkg-config; apt-get install gcc pkg-config")
    if subprocess.run(["pkg-config", "--exists", "libmodbus"], check=False).returncode:
        pytest.skip("no libmodbus; apt-get install libmodbus-dev")
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libmodbus"], text=True)
    program = folder / "plc"
    command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
    subprocess.run([*command, *flags.split()], check=True)
    return program


def wrong(seen: dict[str, Any]) -> dict[str, int]:
    """What the PLC saw that must not happen."""
    return {name: seen[name] for name in NOTHING_WRONG if seen[name]}


@dataclass(frozen=True)
class Shift:
    """What a PLC is told to do."""

    cycles: int
    scan_us: int = 1000
    timeout_ms: int = 5000
    first_part: int = 4_000_000_000
    scored: bool = True

    def run(
        self, plc: Path, bridge: ModbusBridge, *, latencies: Path | None = None
    ) -> dict[str, Any]:
        """Work until the end; what the PLC saw."""
        told = (self.cycles, self.scan_us, self.timeout_ms, self.first_part, int(self.scored))
        command = [str(plc), "127.0.0.1", str(bridge.port), *map(str, told)]
        command += [str(latencies)] if latencies else []
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
        assert ended.returncode == 0, (ended.stdout, ended.stderr)
        return dict(json.loads(ended.stdout))
