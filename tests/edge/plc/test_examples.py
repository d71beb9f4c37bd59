"""The examples run as they are; the guide tells every code, default and edge that the code has."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.plc.station.snapshot import ErrorCode, Phase

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/plc.md").read_text(encoding="utf-8")
PATIENCE_S = 120


def example(name: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / name), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_plain_script(built, drawn) -> None:
    out, err = example("plc_script.py", built, drawn / "test" / "good").communicate(
        timeout=PATIENCE_S
    )
    assert err == ""
    assert len(re.findall(r"^\d+\.png: (accept|reject) [\d.]+", out, re.MULTILINE)) == 4


def test_asyncio(built, drawn) -> None:
    out, err = example("plc_asyncio.py", built, drawn / "test" / "good").communicate(
        "11\n12\n13\n", timeout=PATIENCE_S
    )
    assert err == ""
    assert re.findall(r"^(\d+): (?:PASS|REJECT|reject)", out, re.MULTILINE) == ["11", "12", "13"]


def test_a_process_of_its_own(built, drawn) -> None:
    pytest.importorskip("pymodbus", reason="pymodbus is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    running = example("plc_process.py", built, drawn / "test" / "good", port)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == f"modbus tcp://127.0.0.1:{port}: ready\n"
    finally:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, err) == (0, "")


def test_the_guide_tells_every_error_code() -> None:
    told = dict(re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", GUIDE, re.MULTILINE))
    assert told == {str(int(code)): code.name for code in ErrorCode}


def test_the_guide_tells_every_phase() -> None:
    told = set(re.findall(r"^\| ([A-Z]+) \| \d \|", GUIDE, re.MULTILINE))
    assert told == {phase.name for phase in Phase}


def test_the_program_of_the_guide_uses_the_bits_of_the_map() -> None:
    from edge.plc.modbus.register_map import CONTROL_BITS, STATUS_BITS

    status = {bit.number: bit.name for bit in STATUS_BITS}
    used = {int(number) for number in re.findall(r"wStatus\.(\d+)", GUIDE)}
    assert {status[number] for number in used} == {
        "Ready",
        "TriggerAck",
        "Online",
        "ResultsValid",
        "Error",
    }
    control = {bit.name: 1 << bit.number for bit in CONTROL_BITS}
    words = {int(word, 16) for word in re.findall(r"16#(\d+)", GUIDE)}
    enable = control["TriggerEnable"]
    assert words == {enable, enable | control["Trigger"], enable | control["ResultsAck"]}
