from __future__ import annotations

import io
import os
import struct
import zlib
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

import cameras.decoding.limits
from cameras.connect import open_source
from cameras.devices.pixels import bgr_from_pixels
from cameras.errors import ImageError
from cameras.image_files import image_from_bytes, image_from_file, taking_bits


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".ppm", ".jpg", ".gif"])
def test_every_kind_that_is_promised_is_read(tmp_path, suffix) -> None:
    path = tmp_path / f"part{suffix}"
    assert cv2.imwrite(str(path), picture())
    image = image_from_file(path)
    assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
    limit = {".jpg": 3, ".gif": 40}.get(suffix, 0)
    assert np.abs(image.astype(int) - picture()).mean() <= limit


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff", ".gif", ".ppm"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, -1])
def test_a_file_that_is_cut_short_is_never_a_picture(suffix, kept) -> None:
    data = cv2.imencode(suffix, picture())[1].tobytes()
    cut = data[:-1] if kept == -1 else data[: int(len(data) * kept)]
    with pytest.raises(ImageError):
        image_from_bytes(cut)


def test_a_progressive_jpeg_that_is_cut_short_is_refused() -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(picture()).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    assert image_from_bytes(data).shape == (48, 64, 3)
    for end in range(len(data) // 4, len(data) - 2, 97):
        with pytest.raises(ImageError):
            image_from_bytes(data[:end])


def test_bytes_after_the_end_of_a_jpeg_are_allowed() -> None:
    data = cv2.imencode(".jpg", picture())[1].tobytes()
    assert image_from_bytes(data + b"\0" * 500).shape == (48, 64, 3)


def test_grey_becomes_three_equal_channels(tmp_path) -> None:
    grey = picture()[..., 0]
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), grey)
    image = image_from_file(path)
    assert all((image[..., channel] == grey).all() for channel in range(3))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_scaled_by_their_range_and_not_by_their_maximum(tmp_path, suffix) -> None:
    path = tmp_path / f"deep{suffix}"
    values = np.array([[0, 257, 4096, 65535 // 2, 40000, 65535]], np.uint16)
    cv2.imwrite(str(path), np.repeat(values, 4, axis=0))
    image = image_from_file(path)
    assert image[0, :, 0].tolist() == [0, 1, 16, 127, 156, 255]
    cv2.imwrite(str(path), np.full((4, 4), 4095, np.uint16))
    assert image_from_file(path).max() == 16


def test_alpha_is_dropped_and_not_blended(tmp_path) -> None:
    path = tmp_path / "alpha.png"
    cv2.imwrite(str(path), np.dstack([picture(), np.zeros((48, 64), np.uint8)]))
    assert (image_from_file(path) == picture()).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_in_exif_is_applied(kind, orientation) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    upright = picture()
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    Pillow.fromarray(upright[..., ::-1]).save(buffer, kind, exif=exif, **options)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    image = image_from_bytes(buffer.getvalue()).astype(int)
    assert np.abs(image - np.rot90(upright, turns)).mean() < 2


def test_a_cmyk_jpeg_has_its_true_colours() -> None:
    cmyk = Pillow.fromarray(picture()[..., ::-1]).convert("CMYK")
    buffer = io.BytesIO()
    cmyk.save(buffer, "JPEG", quality=95)
    expected = np.asarray(cmyk.convert("RGB"))[..., ::-1].astype(int)
    assert np.abs(image_from_bytes(buffer.getvalue()) - expected).mean() < 3


def test_a_small_file_that_asks_for_gigabytes_is_refused_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows)
    with pytest.raises(ImageError, match=r"50000 x 50000 pixels; more than 100 megapixels"):
        image_from_bytes(bomb + png_chunk(b"IEND", b""))
    with pytest.raises(ImageError, match="megapixels"):
        image_from_bytes(b"P5\n60000 60000\n255\n" + bytes(10))


def test_samples_that_are_not_integers_are_refused() -> None:
    data = cv2.imencode(".tiff", picture().astype(np.float32))[1].tobytes()
    with pytest.raises(ImageError, match="floating-point"):
        image_from_bytes(data)
    with pytest.raises(ImageError, match="uint16"):
        image_from_bytes(b"P5 2 2 1023\n" + b"\x03\xff" * 4)


def test_what_is_no_file_is_refused_with_its_path(tmp_path) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    empty = tmp_path / "empty.png"
    empty.touch()
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    expected = {
        folder: "Is a directory",
        empty: "is empty",
        pipe: "it is a pipe, not a plain file",
        text: "not an image",
        tmp_path / "missing.png": "No such file",
    }
    for path, words in expected.items():
        with pytest.raises(ImageError, match=words) as caught:
            image_from_file(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_name_of_any_bytes_is_read_and_can_be_printed(tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9\nZ\xff.png")
    path.write_bytes(cv2.imencode(".png", picture())[1].tobytes())
    assert image_from_file(path).shape == (48, 64, 3)
    path.write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        image_from_file(path)
    message = str(caught.value)
    assert message.encode("utf-8")
    assert "\n" not in message
    assert "caf\\xe9" in message


def test_a_bit_depth_is_what_a_cameras_mono12_is(tmp_path) -> None:
    values = np.array([[0, 15, 16, 2047, 4095]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    live = bgr_from_pixels(values.ravel(), format="Mono12", size=(5, 1))
    assert (image_from_file(tmp_path / "a.png", bit_depth=12) == live).all()
    with taking_bits(12):
        assert (image_from_file(tmp_path / "a.png") == live).all()
        # Another depth, given, counts; files of 8 bits are as they are.
        assert image_from_file(tmp_path / "a.png", bit_depth=16).max() == 16
        cv2.imwrite(str(tmp_path / "c.png"), values.astype(np.uint8))
        assert image_from_file(tmp_path / "c.png").max() == 255
    with pytest.raises(ImageError, match="values up to 4095, beyond the 1023 of a bit depth of 10"):
        image_from_file(tmp_path / "a.png", bit_depth=10)


def test_sources_of_files_take_a_bit_depth(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8), 4095, np.uint16))
    for source in (str(tmp_path), str(tmp_path / "*.png"), f"watch:{tmp_path}?existing=all"):
        with open_source(source, bit_depth=12) as opened:
            assert next(iter(opened)).image.max() == 255


SEEDS = [cv2.imencode(suffix, picture(16, 20))[1].tobytes() for suffix in (".jpg", ".png", ".gif")]
SEEDS += [cv2.imencode(suffix, picture(16, 20))[1].tobytes() for suffix in (".bmp", ".webp")]
SEEDS += [cv2.imencode(suffix, picture(16, 20))[1].tobytes() for suffix in (".tiff", ".ppm")]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damage_gives_a_picture_or_an_image_error_and_nothing_else(data) -> None:
    image = bytearray(data.draw(st.sampled_from(SEEDS)))
    places = st.tuples(st.integers(0, len(image) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=6)):
        image[place] = value
    try:  # a header that asks for 100 megapixels gets them, and takes its time
        with mock.patch.object(cameras.decoding.limits, "MAX_PIXELS", 1_000_000):
            decoded = image_from_bytes(bytes(image))
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert decoded.ndim == 3
        assert decoded.dtype == np.uint8
