"""Damaged pictures end in a picture or a refusal: no crash, no gigabytes, nothing unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RIG = Path(__file__).parents[2] / "rig"
BOUND = 220 << 20  # bytes: the program with OpenCV, and a picture of four megapixels


def attack(count: int, seed: int) -> dict:
    path = os.pathsep.join((str(RIG), str(RIG.parents[1])))
    command = [sys.executable, str(RIG / "decode_attack.py"), str(count), str(seed)]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check(found: dict, count: int) -> None:
    assert found["refused"] + found["other"] + found["same"] == count
    assert found["refused"] > found["other"]
    assert found["peak"] < BOUND
    assert found["wrong"] == {}


def test_damage_is_refused_where_another_reader_refuses_it() -> None:
    check(attack(600, 3), 600)


@pytest.mark.soak
def test_forty_thousand_damaged_pictures() -> None:
    for seed in range(10):
        check(attack(4000, 100 + seed), 4000)
