"""The command as a process: missing streams, signals from the first moment, and what hangs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from process.signals import UNHEARD as UNHEARD_S

ROOT = Path(__file__).resolve().parents[3]
EDGE = (sys.executable, "-c", "from edge.cli.main import main; main()")
HANGS = """
import os, sys
from edge.service.signals import stop_on_signals
from process.signals import end_within, hearing_signals

with hearing_signals():
    end_within(0.2)
    with stop_on_signals():
        print("begun", flush=True)
        os.open(sys.argv[1], os.O_RDONLY)  # nobody ever writes
"""


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_the_null_device(closed, tmp_path) -> None:
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", *EDGE, "init", "--output", "edge.toml"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"internal error" not in done.stderr
    assert (tmp_path / "edge.toml").read_text().startswith("#")


def hears(process_id: int, number: int) -> bool:
    """Whether a process handles a signal."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def first_child(process_id: int) -> int:
    children = Path(f"/proc/{process_id}/task/{process_id}/children")
    return int(next(iter(children.read_text().split()), 0))


NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")
IS_ALLOWED = shutil.which("unshare") is not None and (
    subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param((), id="plain"),
        pytest.param(
            NAMESPACE,
            id="first of a container",
            marks=pytest.mark.skipif(not IS_ALLOWED, reason="no namespaces here"),
        ),
    ],
)
def test_a_build_hears_a_signal_while_it_still_imports(start, tmp_path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*start, *EDGE, "build", str(tmp_path)], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        limit = time.monotonic() + 60
        builds = 0
        while not hears(builds, signal.SIGTERM):
            assert process.poll() is None and time.monotonic() < limit
            builds = first_child(process.pid) if start else process.pid
            time.sleep(0.001)
        os.kill(builds, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert err.splitlines()[-1] == "edge: ended by SIGTERM; what was there before is unchanged"
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_hangs_is_ended_by_force(number, tmp_path) -> None:
    """As a source that blocks in `open`, or an engine that does not come back."""
    os.mkfifo(tmp_path / "fifo")
    code = f"import signal as s; s.signal({number:d}, s.default_int_handler)\n{HANGS}"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "fifo")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "it did not end by itself in 0.2 s" in err


# `raise` of C with Python's lock held, and no other thread's turn before the alarm is there.
UNHEARD = """
import ctypes, signal, sys, time
from edge.service.signals import stop_on_signals
from process.signals import hearing_signals

sys.setswitchinterval(30)
with hearing_signals(), stop_on_signals() as stop:
    getattr(ctypes.PyDLL(None), "raise")(signal.SIGTERM)
    until_s = time.monotonic() + 20
    while not (left_s := signal.getitimer(signal.ITIMER_REAL)[0]) and time.monotonic() < until_s:
        pass  # the kernel may take another thread for it
    sys.setswitchinterval(0.005)
    time.sleep(0.2)
    print(round(left_s), signal.alarm(0), stop.is_set())
print(signal.alarm(0))
"""


def test_what_holds_pythons_lock_has_an_alarm_until_the_signal_is_heard() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNHEARD],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.split() == [str(UNHEARD_S), "0", "True", "0"]
