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
    """A camera in a process of its own, of each kind."""
    with servers.CameraProcess(request.param) as camera:
        yield camera


@pytest.fixture
def http(servers):
    """A camera in a process of its own, for what does not depend on its kind."""
    with servers.CameraProcess("http") as camera:
        yield camera


@pytest.fixture
def rtsp_process(servers):
    """A camera in a process of its own whose decoder keeps most to itself."""
    with servers.CameraProcess("rtsp") as camera:
        yield camera


@pytest.fixture
def rtsp(servers):
    with servers.Camera(servers.RtspHandler) as camera:
        yield camera
