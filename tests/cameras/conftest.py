from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def servers():
    """The test cameras' module, which no package path leads to."""
    path = Path(__file__).with_name("servers.py")
    spec = importlib.util.spec_from_file_location("camera_servers", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mjpeg(servers):
    with servers.Camera(servers.MjpegHandler) as camera:
        yield camera


@pytest.fixture(params=["http", "rtsp"])
def process(request, servers):
    """A camera in a process of its own."""
    with servers.CameraProcess(request.param) as camera:
        yield camera


@pytest.fixture
def rtsp(servers):
    with servers.Camera(servers.RtspHandler) as camera:
        yield camera
