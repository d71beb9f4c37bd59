"""Video4Linux through its seam: there is no camera here, so what would be asked of OpenCV is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import cameras.devices.opencv
import cameras.devices.v4l2
from cameras.connect import open_source
from cameras.devices.opencv import OpenCvDevice
from cameras.errors import CameraError, ImageError, SourceError


class Webcam:
    """In place of cv2.VideoCapture: keeps what was asked for; refuses what it does not know."""

    refuses: tuple[int, ...] = ()
    letters = 0
    jpeg = b""

    def __init__(self) -> None:
        self.controls: list[tuple[int, float]] = []
        self.released = False
        Webcam.last = self

    def open(self, *arguments) -> bool:
        self.opened = arguments
        return True

    def set(self, number: int, value: float) -> bool:
        self.controls.append((number, value))
        return number not in self.refuses

    def get(self, number: int) -> float:
        return {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FOURCC: self.letters}.get(number, 0.0)

    def retrieve(self, into):
        assert (cv2.CAP_PROP_CONVERT_RGB, 0) in self.controls
        return True, np.frombuffer(self.jpeg, np.uint8)[None]

    def release(self) -> None:
        self.released = True


@pytest.fixture
def opened(monkeypatch):
    """How a source would be opened, as a device."""
    devices = []

    class Recorder:
        def __init__(self, device, *, name, stall_after, check) -> None:
            devices.append((name, device))

    monkeypatch.setattr(cameras.devices.v4l2, "LiveSource", Recorder)
    monkeypatch.setattr(cameras.devices.v4l2, "_check_device", lambda path: None)

    def open_it(source, **options) -> tuple[str, OpenCvDevice]:
        open_source(source, **options)
        return devices[-1]

    return open_it


BY_ID = "/dev/v4l/by-id/usb-Maker_Cam_1234-video-index0"


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (0, "/dev/video0"),
        ("2", "/dev/video2"),
        ("2?fps=30", "/dev/video2"),
        ("/dev/video3", "/dev/video3"),
        ("/dev/video3?size=640x480&fps=30", "/dev/video3"),
        ("v4l2:/dev/video4?fps=5", "/dev/video4"),
        ("v4l2:///dev/video4", "/dev/video4"),
        ("v4l2:4", "/dev/video4"),
        (BY_ID, BY_ID),
        (f"{BY_ID}?fps=15", BY_ID),
    ],
)
def test_each_way_to_name_a_webcam(opened, source, path) -> None:
    name, device = opened(source)
    assert (name, device.target, device.backend) == (path, path, cv2.CAP_V4L2)


def test_size_format_and_rate_are_asked_for_at_opening(opened) -> None:
    _, device = opened("0?size=1920x1080&fps=60&format=YUYV")
    assert device.parameters == (
        *(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"YUYV")),
        *(cv2.CAP_PROP_FRAME_WIDTH, 1920, cv2.CAP_PROP_FRAME_HEIGHT, 1080),
        *(cv2.CAP_PROP_FPS, 60),
    )
    _, device = opened("0", options={"size": "640x480"})
    assert device.parameters[:2] == (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    assert opened("0")[1].parameters == ()


def test_automatics_are_off_before_a_value_is_set_by_hand(opened) -> None:
    _, device = opened("0?focus=30&exposure_ms=8&gain=4&white_balance_k=5000")
    assert [(name, value) for name, _, value in device.controls] == [
        ("auto_exposure", 1),
        ("exposure_ms", 80),  # V4L2 counts in 100 µs
        ("auto_white_balance", 0),
        ("autofocus", 0),
        ("gain", 4),
        ("white_balance_k", 5000),
        ("focus", 30),
    ]
    _, device = opened("0?auto_exposure=on&brightness=-10")
    assert [(name, value) for name, _, value in device.controls] == [
        ("auto_exposure", 3),
        ("brightness", -10),
    ]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("exposure_ms=5&auto_exposure=on", "exposure_ms has no effect with auto_exposure=on"),
        ("focus=5&autofocus=on", "focus has no effect with autofocus=on"),
        ("exposure_ms=0", "exposure_ms must be a number from 0.1"),
        ("format=MJPEG", "format must be four letters"),
        ("exposure=5", "unknown option 'exposure'; known: size, fps, format, exposure_ms"),
    ],
)
def test_what_makes_no_sense_is_refused(opened, query, words) -> None:
    with pytest.raises(SourceError, match=words):
        opened(f"/dev/video0?{query}")


def test_controls_are_set_again_at_each_opening_and_a_refusal_is_told(opened, monkeypatch) -> None:
    monkeypatch.setattr(cameras.devices.opencv.cv2, "VideoCapture", Webcam)
    _, device = opened("0?exposure_ms=8&gain=4")
    for _ in range(2):
        camera = device.open()
        assert camera.rate_hz == 30.0
        assert Webcam.last.opened == ("/dev/video0", cv2.CAP_V4L2, ())
        assert Webcam.last.controls == [
            (cv2.CAP_PROP_AUTO_EXPOSURE, 1),
            (cv2.CAP_PROP_EXPOSURE, 80),
            (cv2.CAP_PROP_GAIN, 4),
        ]
    monkeypatch.setattr(Webcam, "refuses", (cv2.CAP_PROP_GAIN,))
    with pytest.raises(CameraError, match=r"^refuses gain=4; `v4l2-ctl --list-ctrls-menus`"):
        device.open()
    assert Webcam.last.released


def test_a_jpeg_is_taken_as_it_is_and_a_cut_one_is_no_picture(opened, monkeypatch) -> None:
    """OpenCV would fill up with grey what is missing."""
    monkeypatch.setattr(cameras.devices.opencv.cv2, "VideoCapture", Webcam)
    monkeypatch.setattr(Webcam, "letters", cv2.VideoWriter.fourcc(*"MJPG"))
    drawn = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8), (0, 0), 2
    )
    whole = cv2.imencode(".jpg", drawn)[1].tobytes()
    camera = opened("0?size=64x48")[1].open()
    monkeypatch.setattr(Webcam, "jpeg", whole)
    assert np.array_equal(camera.retrieve(None), cv2.imdecode(np.frombuffer(whole, np.uint8), 1))
    for end in (b"", b"\xff\xd9"):
        monkeypatch.setattr(Webcam, "jpeg", whole[: len(whole) * 4 // 5] + end)
        with pytest.raises(ImageError, match="cut short"):
            camera.retrieve(None)
    monkeypatch.setattr(Webcam, "refuses", (cv2.CAP_PROP_CONVERT_RGB,))
    with pytest.raises(CameraError, match="use format=YUYV"):
        opened("0")[1].open()


def test_the_cameras_that_are_there_are_told_by_their_lasting_names(tmp_path, monkeypatch) -> None:
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-Maker_Cam-video-index0").symlink_to("/dev/video0")
    monkeypatch.setattr(cameras.devices.v4l2, "_BY_ID", by_id)
    with pytest.raises(SourceError, match=r"no such camera; present: .*usb-Maker_Cam-video-index0"):
        open_source("/dev/video99")
