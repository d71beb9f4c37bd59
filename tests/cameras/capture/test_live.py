from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from cameras.connect import open_source
from cameras.errors import CameraError, SourceError

SECRET = "Zq9secret"


def address(scheme: str, port: int, path: str = "video") -> str:
    return f"{scheme}://operator:{SECRET}@127.0.0.1:{port}/{path}"


@pytest.fixture(params=["http", "rtsp"])
def camera(request, servers):
    handler = servers.MjpegHandler if request.param == "http" else servers.RtspHandler
    with servers.Camera(handler) as server:
        server.scheme = request.param
        yield server


def test_frames_are_the_newest_and_the_others_are_counted(camera, servers) -> None:
    with open_source(address(camera.scheme, camera.port)) as source:
        assert source.live
        ages, indices = [], []
        for frame in source:
            ages.append(camera.number() - servers.number_in(frame.image))
            indices.append(frame.index)
            assert SECRET not in frame.source
            if len(ages) == 12:
                break
            time.sleep(0.12)  # three frames of the camera
    # A reader that takes every third picture in turn would be 24 behind; a busy machine a few.
    assert max(ages[-3:]) <= 12, ages
    assert source.dropped >= 11
    assert source.dropped >= indices[-1] + 1 - len(indices)
    assert source.dropped + len(indices) == source._captured  # captured = used + dropped
    assert SECRET not in source.name
    assert not [thread for thread in threading.enumerate() if "capture" in thread.name]


def test_a_stall_yields_frames_without_image_and_then_recovers(camera, servers) -> None:
    with open_source(address(camera.scheme, camera.port), stall_after=0.4) as source:
        frames = iter(source)
        while next(frames).image is None:
            pass
        camera.stalled.set()
        ended = camera.number()
        missing, began = [], time.monotonic()
        while time.monotonic() - began < 1.5:
            frame = next(frames)
            if frame.image is None:
                missing.append(frame)
            else:  # only what was on its way when the camera stopped
                assert not missing
                assert servers.number_in(frame.image) <= ended
        assert len(missing) >= 2
        assert "no frame for 0.4 s" in missing[0].reason
        assert SECRET not in missing[0].reason
        camera.stalled.clear()
        resumed = camera.number()
        began = time.monotonic()
        while (frame := next(frames)).image is None:
            assert time.monotonic() - began < 8
        # Never a picture from before the stall, whatever the decoder kept.
        assert servers.number_in(frame.image) >= resumed


def test_closing_during_a_stall_is_quick_and_ends_the_iteration(camera) -> None:
    source = open_source(address(camera.scheme, camera.port))
    camera.stalled.set()
    time.sleep(0.2)
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 3
    assert list(source) == []
    source.close()


def test_a_consumer_that_was_away_gets_no_old_frame(mjpeg, servers) -> None:
    with open_source(address("http", mjpeg.port), stall_after=0.4) as source:
        frames = iter(source)
        assert next(frames).image is not None
        time.sleep(0.2)
        mjpeg.stalled.set()
        time.sleep(0.3)  # a frame waits, and grows old, though it is no stall yet
        frame = next(frames)
        assert frame.image is None
        assert "no frame for" in frame.reason


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_camera_that_never_answers_is_an_error_after_the_timeout(servers, scheme) -> None:
    with (
        servers.Camera(servers.MuteHandler) as mute,
        pytest.raises(CameraError, match="does not answer") as caught,
    ):
        open_source(address(scheme, mute.port), open_timeout=0.5)
    assert not isinstance(caught.value, SourceError)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_closed_port_and_a_missing_stream_are_errors(mjpeg, capfd) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for url, words in (
        (address("rtsp", port), "does not answer"),
        (address("http", port), "does not answer"),
        (address("http", mjpeg.port, "nothing"), "answers with status 404"),
        (f"http://127.0.0.1:{mjpeg.port}/private?pwd={SECRET}", "answers with status 401"),
    ):
        with pytest.raises(CameraError, match=words) as caught:
            open_source(url)
        assert SECRET not in str(caught.value)
    assert SECRET not in "".join(capfd.readouterr())


def test_opening_and_closing_leaves_nothing_behind(rtsp) -> None:
    """RTSP; of HTTP see `test_opening_and_closing_often_leaves_nothing`."""

    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    def once() -> None:
        with open_source(address("rtsp", rtsp.port)) as source:
            assert next(iter(source)).image is not None

    def settled() -> tuple[int, int]:
        # The server's side of the last connection ends a moment later than ours.
        for _ in range(100):
            if (now := held())[1] <= threads:
                return now
            time.sleep(0.02)
        return held()

    threads = threading.active_count()
    once()
    before = settled()
    for _ in range(2):
        once()
    assert settled() == before
