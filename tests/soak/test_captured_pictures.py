"""`edge capture`, killed at random moments, one after another into one folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import cv2
import pytest
from results import noise
from streaming import COMMAND

pytestmark = pytest.mark.soak

SIZE = (480, 640)
KILLS = int(os.environ.get("KILLS", "100"))


def test_whatever_is_killed_each_picture_is_whole_and_stays(tmp_path) -> None:
    line, out = tmp_path / "line", tmp_path / "out"
    line.mkdir()
    pictures = [noise(number, SIZE) for number in range(8)]
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(line / f"{number}.png"), picture)
    known = {picture.tobytes() for picture in pictures}
    before: dict[Path, float] = {}
    for _ in range(KILLS):
        words = ("capture", f"replay:{line}?fps=60", out)
        with subprocess.Popen([*COMMAND, *map(str, words)], stderr=subprocess.PIPE) as process:
            time.sleep(random.uniform(0.5, 3.0))
            process.send_signal(random.choice([signal.SIGKILL, signal.SIGTERM]))
        there = {path: path.stat().st_mtime for path in out.glob("*.png")}
        assert before.items() <= there.items()
        for path in there.keys() - before.keys():
            assert cv2.imread(str(path)).tobytes() in known
        assert len([*out.glob("*.part")]) <= 4  # of the last one, which was killed
        before = there
    assert before
