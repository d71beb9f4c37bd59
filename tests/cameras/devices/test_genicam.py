"""GenICam with the real harvesters and a real, simulated GenTL producer: the one in the wheel."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cameras.connect import open_source
from cameras.devices.genicam import GenicamDevice
from cameras.devices.pixels import NAMES, bgr_from_pixels
from cameras.errors import CameraError, SourceError

GREEN = "VikyTL_DEV_green"


@pytest.fixture(scope="module")
def producer() -> str:
    """The software cameras "Viky", which the genicam wheel contains: three, red, green and blue."""
    pytest.importorskip("harvesters", reason="harvesters is not installed")
    genicam = pytest.importorskip("genicam", reason="genicam is not installed")
    path = Path(genicam.__file__).with_name("viky.cti")
    if not path.exists():
        pytest.skip("this genicam wheel has no simulated producer")
    return str(path)


@pytest.fixture
def addressed(producer, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(Path(producer).parent))
    return


def device(producer: str, *features: tuple[str, str, bool], camera: str = "1") -> GenicamDevice:
    return GenicamDevice((producer,), camera, features)


def grabbed(camera) -> np.ndarray:
    assert camera.grab()
    image = camera.retrieve(None)
    assert image is not None
    return image


def test_a_simulated_camera_delivers_its_colours(addressed) -> None:
    with open_source("genicam:1?size=320x240&BouncingBallSize=40&fps=25") as source:
        assert (source.live, source.name, source.rate_hz) == (True, "genicam:1", 25.0)
        frames = [frame for frame, _ in zip(source, range(5), strict=False)]
    images = [frame.image for frame in frames if frame.image is not None]
    assert images
    for image in images:
        assert image.shape == (240, 320, 3)
        ball = (image == (0, 255, 0)).all(axis=2)  # a green square on white
        assert 0.5 * 40 * 40 <= ball.sum() <= 40 * 40
        assert (image[~ball] == 255).all()


@pytest.mark.parametrize("name", ["2", "VikyTL_DEV_blue"])
def test_a_camera_is_found_by_each_of_its_names(producer, name) -> None:
    camera = device(producer, camera=name).open()
    try:
        image = grabbed(camera)
    finally:
        camera.close()
    assert (image.reshape(-1, 3) == (255, 0, 0)).all(axis=1).any()


def test_a_picture_is_written_where_it_shall_be(producer) -> None:
    camera = device(producer, ("PixelFormat", "Mono8", True)).open()
    try:
        assert camera.grab()
        into = np.zeros((400, 400, 3), np.uint8)
        assert camera.retrieve(into) is into
        assert into.max() == 255
        assert camera.retrieve(into) is None  # each picture once
        assert camera.grab()
        assert camera.grab()  # one that was not wanted goes back to the camera
        assert camera.retrieve(np.zeros((4, 4, 3), np.uint8)).shape == (400, 400, 3)
    finally:
        camera.close()
        camera.close()
    assert not camera.grab()


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (("Nope", "1", True), "has no feature Nope"),
        (("Width", "wide", True), "refuses Width=wide"),
        (("Width", "99999999", True), "must be equal or smaller than Max"),
        (("PixelFormat", "Foo", True), "refuses PixelFormat=Foo"),
        (("ChunkModeActive", "perhaps", True), "refuses ChunkModeActive"),
        (("Root", "1", True), "cannot set Root; it is no value"),
    ],
)
def test_what_a_camera_refuses_is_told_and_it_stays_free_for_the_next(
    producer, feature, words
) -> None:
    with pytest.raises(CameraError, match=words) as caught:
        device(producer, feature).open()
    assert "\n" not in str(caught.value)
    camera = device(producer, ("ExposureAuto", "Off", False)).open()  # it need not have this one
    camera.close()


def test_which_camera_is_meant_must_be_clear(producer) -> None:
    with pytest.raises(CameraError, match="is one of several; name one: 0, 1, 2"):
        device(producer, camera="").open()
    with pytest.raises(CameraError, match="not found; present: 0, 1, 2"):
        device(producer, camera="3").open()
    first = device(producer).open()
    try:
        with pytest.raises(CameraError):  # in use
            device(producer).open()
    finally:
        first.close()


def test_a_file_that_is_no_producer_is_an_error(producer, tmp_path) -> None:
    path = tmp_path / "broken.cti"
    path.write_bytes(b"\x7fELF and nothing else")
    with pytest.raises(CameraError):
        GenicamDevice((str(path),)).open()
    with pytest.raises(CameraError, match="genicam:1: "):
        open_source(f"genicam:1?producer={path}")
    with pytest.raises(SourceError, match=r"no such .cti file"):
        open_source(f"genicam:1?producer={tmp_path}/gone.cti")


def test_opening_again_and_again_leaves_nothing_behind(producer) -> None:
    def held() -> tuple[int, int, int]:
        return (
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
            len(os.listdir(tempfile.gettempdir())),  # noqa: PTH208 - only how many
        )

    def once() -> None:
        camera = device(producer).open()
        grabbed(camera)
        camera.close()

    once()
    before = held()
    for _ in range(10):
        once()
    after = held()
    assert after[:2] == before[:2]
    assert abs(after[2] - before[2]) < 10  # others use this folder too


def test_a_camera_without_pictures_ends_the_connection(producer) -> None:
    camera = GenicamDevice((producer,), "1", (), read_timeout_s=0.3).open()
    try:
        grabbed(camera)
        camera._acquirer.remote_device.node_map.AcquisitionStop.execute()
        began = time.monotonic()
        while camera.grab():  # what was still on its way
            assert time.monotonic() - began < 20
    finally:
        camera.close()


RGGB = np.zeros((8, 12), np.uint8)
RGGB[0::2, 0::2], RGGB[1::2, 1::2] = 250, 10  # red, blue; no green
SHIFTS = {"BayerRG": (0, 0), "BayerGR": (0, 1), "BayerGB": (1, 0), "BayerBG": (1, 1)}


@pytest.mark.parametrize(("pattern", "shift"), SHIFTS.items())
@pytest.mark.parametrize("bits", [8, 12])
def test_a_mosaic_of_red_is_red(pattern, shift, bits) -> None:
    mosaic = np.roll(RGGB, [-s for s in shift], axis=(0, 1))
    samples = mosaic.astype(np.uint16) << (bits - 8) if bits > 8 else mosaic
    image = bgr_from_pixels(samples.ravel(), format=f"{pattern}{bits}", size=(12, 8))
    blue, green, red = image[3:-3, 3:-3].reshape(-1, 3).mean(axis=0)
    assert (blue, green, red) == pytest.approx((10, 0, 250), abs=1)


@given(st.sampled_from(sorted(NAMES)), st.integers(0, 9), st.integers(0, 9), st.integers(0, 5))
def test_every_format_gives_a_picture_of_its_size_or_says_that_it_cannot(
    name, width, height, padding
) -> None:
    pixels = NAMES[name]
    dtype = np.uint16 if pixels.bits > 8 else np.uint8
    width, height = 2 * width, 2 * height  # what a mosaic and 4:2:2 come in
    line = width * pixels.channels + padding
    samples = np.full(line * height, 2**pixels.bits - 1, dtype)
    if not width or not height:
        with pytest.raises(ValueError, match="samples for"):
            bgr_from_pixels(samples, format=name, size=(width, height))
        return
    image = bgr_from_pixels(samples, format=name, size=(width, height))
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    with pytest.raises(ValueError, match="samples for"):
        bgr_from_pixels(
            samples[: width * pixels.channels * height - 1], format=name, size=(width, height)
        )


@pytest.mark.parametrize(("name", "code"), [("YUV422_8_UYVY", cv2.COLOR_BGR2YUV_UYVY)])
def test_colours_of_a_video_format_come_back(name, code) -> None:
    red = np.full((4, 6, 3), (20, 40, 200), np.uint8)
    samples = cv2.cvtColor(red, code)
    image = bgr_from_pixels(samples.ravel(), format=name, size=(6, 4))
    assert np.abs(image.astype(int) - red).max() <= 6
