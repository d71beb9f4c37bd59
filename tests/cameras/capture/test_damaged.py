"""What was damaged or lost on its way from a camera is an ERROR, and never judged."""

from __future__ import annotations

import time

import numpy as np
import pytest

from cameras.connect import open_source
from cameras.image_files import image_from_bytes

QUARTER = bytes.fromhex(  # EXIF: turned by a quarter
    "ffe1 0022 457869660000 4d4d002a00000008 0001 0112 0003 00000001 00060000 00000000".replace(
        " ", ""
    )
)


def seen(source, wanted: int, reason: str = "", within_s: float = 30) -> list:
    """Frames until so many have a picture, and one has a reason with these words."""
    frames, until = [], time.monotonic() + within_s
    for frame in source:
        frames.append(frame)
        pictures = sum(frame.image is not None for frame in frames)
        if pictures >= wanted and any(reason in frame.reason for frame in frames):
            return frames
        assert time.monotonic() < until, frame.reason
    raise AssertionError("the source ended")


def test_a_jpeg_that_was_cut_is_an_error_and_one_that_lies_on_its_side_is_turned(mjpeg) -> None:
    """Cut in its last fifth, with and without a new end: FFmpeg would fill in the one before."""
    whole: dict[int, bytes] = {}

    def spoil(number: int, data: bytes) -> bytes:
        whole[number] = data = data[:2] + QUARTER + data[2:]
        if number % 3 == 0:
            return data
        return data[: len(data) * 4 // 5] + (b"\xff\xd9" if number % 3 == 1 else b"")

    mjpeg.spoil = spoil
    with open_source(f"http://127.0.0.1:{mjpeg.port}/video") as source:
        frames = seen(source, 6)
    damaged = [frame.reason for frame in frames if frame.image is None]
    assert len(damaged) >= 3
    assert all("cut short" in reason for reason in damaged)
    pictures = [image_from_bytes(data) for number, data in list(whole.items()) if number % 3 == 0]
    for frame in frames:
        if frame.image is not None:
            assert frame.image.shape == (320, 240, 3)
            assert any(np.array_equal(frame.image, image) for image in pictures)


@pytest.mark.parametrize("way", ["packets", "pictures"])
def test_what_builds_on_what_was_lost_is_an_error_up_to_the_next_key_frame(rtsp, way) -> None:
    """Lost on the network, which RTP counts; left out by the camera, which H.264 counts."""
    import av

    decoder = av.CodecContext.create("h264", "r")
    filmed: list[np.ndarray] = []
    lost: list[int] = []

    def spoil(number: int, data: bytes) -> bytes:
        filmed.extend(f.to_ndarray(format="bgr24") for f in decoder.decode(av.Packet(data)))
        if way == "pictures" and len(filmed) % 10 == 4:
            lost.append(number)
            return b""
        return data

    def lose(number: int, payload: bytes) -> bool:
        if way == "packets" and len(filmed) % 10 == 4:
            lost.append(number)
            return True
        return False

    rtsp.spoil, rtsp.lose = spoil, lose
    with open_source(f"rtsp://127.0.0.1:{rtsp.port}/video") as source:
        frames = seen(source, 8, "waiting for a key frame")
    judged = [frame.image for frame in frames if frame.image is not None]
    assert all(any(np.array_equal(image, other) for other in list(filmed)) for image in judged)
    assert lost


def test_a_camera_that_is_not_yet_at_a_key_frame_is_told_to_be_so(rtsp) -> None:
    """Packets flow: neither is the connection given up, nor does anybody look for a cable."""
    rtsp.key_every, began = 40, []

    def spoil(number: int, data: bytes) -> bytes:
        began.append(number)
        return b"" if len(began) == 1 else data

    rtsp.spoil = spoil
    address = f"rtsp://127.0.0.1:{rtsp.port}/video"
    with open_source(address, stall_after=0.3, open_timeout=0.4) as source:
        frames = seen(source, 1)
    assert rtsp.clients == 1
    assert "waiting for a key frame" in frames[-2].reason
    assert "cable" not in frames[-2].reason


def test_a_camera_that_is_slower_than_a_stall_is_used_and_told_to_be_slow(servers) -> None:
    with servers.Camera(servers.MjpegHandler, rate_hz=3) as camera:
        address = f"http://127.0.0.1:{camera.port}/video"
        with open_source(address, stall_after=0.25, open_timeout=10) as source:
            frames = seen(source, 4)
        assert camera.clients == 1
    assert "one picture every 0.3 s: raise --stall-after" in frames[-2].reason
