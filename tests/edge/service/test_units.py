"""The systemd units of `examples/`: systemd understands them, and finds little to fear."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge.cli.commands import COMMANDS

UNITS = sorted((Path(__file__).resolve().parents[3] / "examples").glob("edge-*.service"))
MAX_EXPOSURE = 25  # tenths; systemd calls 20 "OK" and 50 "medium"
with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request, tmp_path) -> Path:
    """A unit as it is shipped; only its program is one that is here."""
    path = tmp_path / request.param.name
    path.write_text(request.param.read_text().replace("/opt/edge/bin/edge", "/bin/true"))
    return path


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_each_command_that_stays_has_one() -> None:
    assert [path.stem for path in UNITS] == ["edge-serve", "edge-stream", "edge-studio"]
    for path in UNITS:
        assert f"/bin/edge {path.stem.removeprefix('edge-')}" in path.read_text()
        assert path.stem.removeprefix("edge-") in COMMANDS


@with_systemd
def test_systemd_understands_the_unit(unit: Path) -> None:
    assert analyze("verify", unit).stderr == ""


@with_systemd
def test_systemd_finds_little_that_it_exposes(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout
