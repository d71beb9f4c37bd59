"""Built from videos and several folders: the frames that differ, and all folders' images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.bundle import Bundle

pytestmark = pytest.mark.usefixtures("light_builds")

RATE_HZ = 10.0


@pytest.fixture
def video(good, tmp_path) -> Path:
    """Each good part for three frames, with a camera's noise."""
    path = tmp_path / "line.avi"
    random = np.random.default_rng(0)
    first = cv2.imread(str(min(good.iterdir())))
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"FFV1"), RATE_HZ, first.shape[1::-1]
    )
    for part in sorted(good.iterdir()):
        image = cv2.imread(str(part)).astype(np.int16)
        for _ in range(3):
            noisy = image + random.normal(0, 1, image.shape).round().astype(np.int16)
            writer.write(np.clip(noisy, 0, 255).astype(np.uint8))
    writer.release()
    return path


def test_of_a_video_the_frames_that_differ_are_learnt(run, small, video, tmp_path) -> None:
    outcome = run("build", video, "--output", "line.edge", *small, "--json")
    assert outcome.code == 0, outcome.err
    assert "line.avi.frames: 12 of 36 frames, those that differ" in outcome.err
    assert len([*(tmp_path / "line.avi.frames").iterdir()]) == 12
    assert json.loads(outcome.out)["images"] == 12


def test_several_folders_are_one_set(run, small, drawn, good, tmp_path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for path in sorted(good.iterdir())[:6]:
        shutil.move(path, more / f"b{path.name}")
    outcome = run("build", good, more, "--output", "both.edge", *small)
    assert outcome.code == 0, outcome.err
    assert Bundle.open(tmp_path / "both.edge").manifest.images.used == 12
    (tmp_path / "edge.toml").write_text(f'[build]\nimages = ["{good}", "{more}"]\n')
    checked = run("check", "--json")
    assert json.loads(checked.out)["good_images"] == 12


def test_a_video_that_is_none_is_one_line(run, small, tmp_path) -> None:
    (tmp_path / "line.mp4").write_bytes(b"no video")
    outcome = run("build", "line.mp4", *small)
    assert outcome.code == 2
    assert "line.mp4" in outcome.err
    assert not (tmp_path / "line.mp4.frames").exists()
