"""Files that play as a camera: at their pace, over and over, through the real capture process."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from cameras.connect import open_source
from cameras.devices.replay import ReplayDevice
from cameras.errors import CameraError


@pytest.fixture
def folder(tmp_path):
    for number in range(10):
        image = np.full((24, 32, 3), number * 20, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    return tmp_path


def test_pictures_come_at_their_rate_and_start_anew(folder) -> None:
    camera = ReplayDevice(str(folder), 200.0, 16).open()
    seen = []
    began = time.monotonic()
    while time.monotonic() - began < 0.4:
        assert camera.grab()
        image = camera.retrieve(None)
        seen.append(image[0, 0, 0] // 20)
    elapsed = time.monotonic() - began
    assert len(seen) <= 200 * elapsed + 2  # never faster; a busy machine may make it slower
    steps = np.diff(np.array(seen, int)) % 10
    assert (steps >= 1).all() or len(seen) < 3
    assert len(set(seen)) > 3


def test_a_picture_is_written_where_it_shall_be(folder) -> None:
    camera = ReplayDevice(str(folder / "7.png"), 1000.0, 1).open()
    assert camera.grab()
    into = np.zeros((24, 32, 3), np.uint8)
    assert camera.retrieve(into) is into
    assert into.max() == 140
    assert camera.retrieve(np.zeros((9, 9, 3), np.uint8)).shape == (24, 32, 3)
    camera.close()
    assert not camera.grab()
    assert camera.retrieve(None) is None


def test_a_folder_plays_as_a_live_source(folder) -> None:
    with open_source(f"replay:{folder}?fps=50") as source:
        assert (source.live, source.rate_hz, source.name) == (True, 50.0, f"replay:{folder}")
        seen = []
        for frame in source:
            if frame.image is not None:
                seen.append(int(frame.image[0, 0, 0]) // 20)
            if len(seen) == 15:
                break
    assert len(set(seen)) > 3  # it begins anew after ten


def test_what_is_too_much_for_memory_or_has_no_picture_is_an_error(folder, tmp_path) -> None:
    with pytest.raises(CameraError, match=r"is more than 0\.01 MiB"):
        ReplayDevice(str(folder), 0.0, 0.01).open()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/broken.png").write_bytes(b"nothing")
    with pytest.raises(CameraError, match="has no picture that can be read"):
        open_source(f"replay:{tmp_path}/empty")
