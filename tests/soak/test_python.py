"""What a program does with an inspector, in whole: a kernel of Jupyter, pools of processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest

import edge
from edge.inspection.inspector import load

pytestmark = pytest.mark.soak
NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "first_hour.ipynb"


def test_the_notebook_runs_in_a_kernel(tmp_path) -> None:
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    home = {"metadata": {"path": str(tmp_path)}}
    begun = time.monotonic()
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=home).execute()
    print(f"{time.monotonic() - begun:.1f} s")
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert not [one for one in outputs if one.get("name") == "stderr"]
    assert any("image/png" in one.get("data", {}) for one in outputs)  # the result itself


SPAWNED = """
import multiprocessing, sys
import edge

def begin(path):
    global inspector
    inspector = edge.load(path, engine="onnxruntime")

def inspect(path):
    return inspector.inspect(path)

if __name__ == "__main__":
    bundle, *paths = sys.argv[1:]
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(1, begin, (bundle,)) as pool:
            for result in pool.map(inspect, paths):
                print(method, result.verdict, result.score, result.image is None)
"""


def test_pools_that_spawn_load_once_in_each_process(bundle, drawn, tmp_path) -> None:
    (tmp_path / "pool.py").write_text(SPAWNED)
    paths = sorted((drawn / "test" / "good").iterdir())[:2]
    done = subprocess.run(
        [sys.executable, tmp_path / "pool.py", bundle, *paths],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with load(bundle, engine="onnxruntime") as inspector:
        alone = [inspector.inspect(path) for path in paths]
    assert done.stdout.splitlines() == [
        f"{method} {one.verdict} {one.score} True"
        for method in ("spawn", "forkserver")
        for one in alone
    ]


def test_an_event_loop_is_never_blocked_for_long(bundle, drawn) -> None:
    """While eight tasks inspect, and one streams."""
    small = cv2.imread(str(min((drawn / "train" / "good").iterdir())))
    large = cv2.resize(small, (1536, 1536))
    lags: list[float] = []

    async def look() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append((time.perf_counter() - begun - 0.001) * 1e3)

    async def ask(inspector: edge.AsyncInspector) -> None:
        for _ in range(20):
            await inspector.inspect(large)

    async def work() -> None:
        async with edge.AsyncInspector(load(bundle, engine="onnxruntime")) as inspector:
            looking = asyncio.create_task(look())
            await asyncio.gather(*(ask(inspector) for _ in range(8)))
            async for _ in inspector.stream(drawn / "train" / "good"):
                pass
            looking.cancel()

    before = threading.active_count()
    asyncio.run(work())
    lags.sort()
    print(f"late by {lags[len(lags) // 2]:.2f} ms, p99 {lags[len(lags) * 99 // 100]:.2f} ms")
    assert lags[len(lags) * 99 // 100] < 20
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
