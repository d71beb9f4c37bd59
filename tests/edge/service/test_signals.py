"""Ctrl-C and SIGTERM end a stream cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
import itertools, json, sys, time
import numpy as np
from cameras.source import frame_now
from edge.result import Result, Verdict
from edge.service.signals import stop_on_signals
from edge.stream.loop import stream

def inspect(frame):
    time.sleep(0.01)
    return Result(frame.source, frame.index, frame.captured_at_ns, Verdict.OK, 0.1, 0.5)

def started(_, result):
    if result.frame == 0:
        print("started", flush=True)

image = np.zeros((8, 8, 3), np.uint8)
frames = (frame_now("cam", number, image) for number in itertools.count())
with stop_on_signals() as stop:
    summary = stream(inspect, frames, on_result=started, stop=stop)
print(json.dumps(summary.to_json()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly_with_the_summary(number) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'rig'}"},
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "started\n"
        program.send_signal(number)
        out, err = program.communicate(timeout=10)
    assert (program.returncode, err) == (0, "")
    assert json.loads(out)["ok"] >= 1
