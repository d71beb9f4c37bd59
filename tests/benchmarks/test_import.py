"""How long a program waits for `import edge`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.benchmark
RUNS = 9


def start_s(code: str) -> float:
    """Median time of a Python that does this and ends."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def test_import_takes_less_than_300_ms() -> None:
    bare = start_s("pass")
    took = {code: start_s(code) - bare for code in ("import edge", "import edge; edge.Station")}
    print({code: f"{seconds * 1e3:.0f} ms" for code, seconds in took.items()})
    assert max(took.values()) < 0.3
