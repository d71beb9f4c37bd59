"""Signals after inspectors were exchanged: an engine that is released takes no thread's stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

HOST = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from functools import partial
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import load

heard = []
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: heard.append(number))
with HotSwapInspector(partial(load, sys.argv[2], engine="openvino")) as inspector:
    for count in range(int(sys.argv[3])):
        exchange = threading.Thread(target=inspector.reload)
        exchange.start()
        exchange.join()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert inspector.reloads == int(sys.argv[3])
print(len(heard))
"""


def check_host(bundle: Path, exchanges: int) -> None:
    words = [sys.executable, "-c", HOST, str(ROOT), str(bundle), str(exchanges)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout) == (0, f"{3 * exchanges}\n"), ran.stderr


def test_a_host_hears_signals_after_exchanges(bundle) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    check_host(bundle, 2)


@pytest.mark.soak
def test_a_host_hears_signals_after_many_exchanges(bundle) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    check_host(bundle, 20)
