"""What is loaded to open a source: nothing of another kind."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cameras.connect import open_source
from cameras.devices import network

CODE = """
import json, sys
from cameras.connect import open_source
with open_source(sys.argv[1]) as source:
    if not source.live:
        frames = list(source) if type(source).__name__ == "ReadAhead" else []
        assert all(frame.image is not None for frame in frames)
print(json.dumps(sorted(sys.modules)))
"""
DEVICES = {"genicam", "gstreamer", "network", "opencv", "pixels", "replay", "v4l2"}
ROOMS = {"capture", "devices", "push", "child_process"}


def modules_after(address: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, address], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("source", ["part.png", "", "*.png", "watch:"])
def test_files_need_nothing_of_cameras(tmp_path, source) -> None:
    cv2.imwrite(str(tmp_path / "part.png"), np.zeros((8, 8, 3), np.uint8))
    scheme, colon, name = source.rpartition(":")
    loaded = modules_after(f"{scheme}{colon}{tmp_path}/{name}")
    assert "cameras.files.images" in loaded
    assert not loaded & {f"cameras.{room}" for room in ROOMS}
    assert not loaded & {"genicam", "harvesters", "http.server", "subprocess", "multiprocessing"}


@pytest.mark.parametrize(
    ("source", "needed"), [("post://:0", set()), ("replay:{}?fps=30", {"replay"})]
)
def test_a_scheme_needs_its_own_kind_alone(tmp_path, source, needed) -> None:
    cv2.imwrite(str(tmp_path / "part.png"), np.zeros((8, 8, 3), np.uint8))
    loaded = modules_after(source.format(tmp_path))
    assert {device for device in DEVICES if f"cameras.devices.{device}" in loaded} == needed


@pytest.mark.parametrize("address", ["RTSP://line3/cam0", "Http://Line3/A", "HTTPS://line3/cam0"])
def test_a_scheme_may_be_written_in_capitals(address, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(network, "open_network", lambda given, _: seen.append(given))
    open_source(address)
    scheme, mark, rest = address.partition(":")
    assert seen == [scheme.lower() + mark + rest]
