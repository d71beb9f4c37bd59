"""An engine that hangs at its start for good: a signal ends the command, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import gone

pytest.importorskip("pymodbus", reason="pymodbus is not installed")
pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
EDGE = (sys.executable, "-c", "from edge.cli.main import main; main()")
# What Python imports first of all. A lock that is taken twice: no signal ends the wait for it.
HANGS = """
import ctypes, os, onnxruntime

class Hanging(onnxruntime.InferenceSession):
    def __init__(self, *_, **__):
        os.write(2, b"it hangs")
        library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(128)
        library.pthread_mutex_lock(lock)
        library.pthread_mutex_lock(lock)

onnxruntime.InferenceSession = Hanging
"""
STATION = """
[station]
source = "{source}"
bundle = "{bundle}"
engine = "onnxruntime"
bridges = ["modbus"]
[modbus]
port = 0
"""


def children_of(process_id: int) -> list[int]:
    files = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["stream", "serve"])
def test_a_signal_ends_a_command_whose_engine_hangs(bundle, tmp_path, command, number) -> None:
    source = bundle.parent / "images" / "test" / "good"
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    toml = STATION.format(source=source, bundle=bundle) if command == "serve" else ""
    (tmp_path / "edge.toml").write_text(toml)
    words = ["serve"]
    if command == "stream":
        words = ["stream", str(source), "--bundle", str(bundle), "--engine", "onnxruntime"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*EDGE, *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    try:
        limit = time.monotonic() + 60
        while "it hangs" not in log.read_text():
            assert time.monotonic() < limit, log.read_text()
            time.sleep(0.05)
        children = children_of(process.pid)
        process.send_signal(number)
        code = process.wait(15)
        assert code == (0 if command == "serve" else 128 + number), log.read_text()
        assert all(gone(child, 5.0) for child in children)
    finally:
        process.kill()
        process.wait()
