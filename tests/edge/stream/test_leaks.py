"""Nothing grows with the frames; and a leak would be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIMIT_MIB = 8.0


def run(bundle: Path, folder: Path, frames: int, *, leak: int = 0) -> dict[str, float]:
    """What has grown after so many frames, of which each leaks so many bytes."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "rig" / "leak_run.py")]
        + [str(word) for word in (bundle, folder, frames, leak)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def leaks(found: dict[str, float]) -> bool:
    return found["rss_mib"] > LIMIT_MIB or found["fds"] > 0 or found["threads"] > 0


def check(bundle: Path, folder: Path, frames: int) -> None:
    found = run(bundle, folder / "real", frames)
    assert not leaks(found), found
    assert found["frames"] == frames
    assert found["ng"] > 0
    assert found["error"] == found["not_written"] == 0
    assert found["reloads"] >= 3
    # The control keeps twice the limit, from the measured part of its frames.
    frames //= 4
    leak = int(2 * LIMIT_MIB * 2**20 / (0.7 * frames))
    assert leaks(run(bundle, folder / "control", frames, leak=leak))


def test_five_hundred_frames_leave_nothing_behind(built, tmp_path) -> None:
    check(built, tmp_path, 500)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_thousand_frames_leave_nothing_behind(built, tmp_path) -> None:
    check(built, tmp_path, 20_000)
