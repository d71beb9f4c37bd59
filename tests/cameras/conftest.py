from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def servers():
    """The test cameras."""
    import servers

    return servers


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
