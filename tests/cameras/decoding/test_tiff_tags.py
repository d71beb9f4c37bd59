"""A TIFF whose tags were made wrong is refused, or is what a second reader makes of it."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from odd_pictures import RGB, OddPicture, odd_pictures, saved, tiff
from PIL import Image
from tiff_tags import read_by_tifffile, wrong_tags

import cameras.decoding.limits
from cameras.errors import ImageError
from cameras.image_files import image_from_bytes

PICTURES = [
    picture
    for picture in odd_pictures()
    # tifffile leaves colours multiplied by their alpha, and knows no samples of 2, 4 and 12 bits.
    if picture.name.startswith("tiff")
    and picture.shows is not None
    and not any(word in picture.name for word in ("rgba", "grey2", "grey4", "grey12"))
]
SOME = (
    *("tiff rgb8 <", "tiff cmyk planar", "tiff rgb16 deflate", "tiff grey16 white is 0 tiles"),
    *("tiff big grey16", "tiff rgb lzma 2", "tiff rgb packbits 1", "tiff planar tiles"),
)


def check_wrong_tags(picture: OddPicture) -> None:
    refused = same = 0
    for what, data in wrong_tags(picture.data):
        try:
            image = image_from_bytes(data)
        except ImageError:
            refused += 1
            continue
        try:
            expected = read_by_tifffile(data)
        except (ValueError, NotImplementedError, ImportError, TypeError):
            # One without the library of this compression; the palette's place is not a tag's kind.
            assert not picture.name.startswith(SOME) or what[0] == 258, what
            continue
        off = np.abs(image.astype(int) - expected).max() if image.shape == expected.shape else 999
        assert off <= (255 if picture.within else 0), what
        same += 1
    assert refused > 300
    assert same or not picture.name.startswith(SOME)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(cameras.decoding.limits, "MAX_PIXELS", 4_000_000)
    logging.disable(logging.ERROR)  # tifffile's, of tags that it finds wrong
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", SOME)
def test_a_wrong_tag_changes_nothing_unseen(name) -> None:
    check_wrong_tags(next(picture for picture in PICTURES if picture.name == name))


@pytest.mark.soak
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_wrong_tag_changes_nothing_unseen_in_any_variant(picture) -> None:
    check_wrong_tags(picture)


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """The same with another value, or place of values, of a tag; little-endian."""
    entry = data.index(struct.pack("<HH", tag, 4 if tag in (273, 279) else 3), 8)
    return data[: entry + 8] + struct.pack("<I", value) + data[entry + 12 :]


def place_of(data: bytes, number: int = 0) -> tuple[int, int]:
    """Begin and size of a strip."""
    with Image.open(io.BytesIO(data)) as opened:
        return opened.tag_v2[273][number], opened.tag_v2[279][number]


def test_a_strip_of_fewer_bytes_than_its_pixels_is_refused() -> None:
    data = tiff(RGB)
    _, size = place_of(data)
    assert image_from_bytes(with_tag(data, 279, size)).shape == RGB.shape
    for less in (0, 256, size - 1):
        with pytest.raises(ImageError, match="cut short"):
            image_from_bytes(with_tag(data, 279, less))


def test_a_strip_that_is_another_s_or_the_header_is_refused() -> None:
    data = bytearray(tiff(RGB, rowsperstrip=12))
    first, second = place_of(data)[0], place_of(data, 1)[0]
    places = data.index(struct.pack("<II", first, second))
    for wrong in (first, first + 1, 2):
        struct.pack_into("<I", data, places + 4, wrong)
        with pytest.raises(ImageError, match="cut short or damaged"):
            image_from_bytes(bytes(data))


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "lzma", "jpeg"])
def test_a_compressed_part_that_is_cut_or_damaged_at_its_end_is_refused(compression) -> None:
    data = saved(Image.fromarray(RGB), "TIFF", compression=compression)
    begin, size = place_of(data)
    end = begin + size
    for changed in (
        data[: end - 3] + bytes([data[end - 3] ^ 1]) + data[end - 2 :],
        data[: begin + size // 2] + bytes(size - size // 2) + data[end:],
    ):
        # JPEG has no checksum, so that the first is a picture.
        if compression != "jpeg" or changed[end - 1] == 0:
            with pytest.raises(ImageError, match="cut short"):
                image_from_bytes(changed)


@pytest.mark.parametrize("quality", [95, 30])
def test_a_jpeg_inside_a_tiff_whose_rest_was_made_up_is_refused(quality) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(Image.fromarray(noise), "TIFF", compression="jpeg", quality=quality)
    begin, size = place_of(data)
    assert image_from_bytes(data).shape == noise.shape
    for kept in (0.4, 0.7, 0.95):
        cut = int(size * kept)
        part = (data[begin : begin + cut] + b"\xff\xd9").ljust(size, b"\0")
        with pytest.raises(ImageError, match="JPEG"):
            image_from_bytes(data[:begin] + part + data[begin + size :])


def test_a_lowest_strip_that_is_filled_up_is_read() -> None:
    """As some writers do; the picture is the same."""
    rows = RGB[:20]
    data = tiff(rows, rowsperstrip=16, compression="zlib")
    begin, size = place_of(data, 1)
    full = zlib.compress(np.vstack([rows[16:], RGB[:12]]).tobytes())
    sizes = data.index(struct.pack("<HH", place_of(data)[1], size))
    places = data.index(struct.pack("<II", place_of(data)[0], begin))
    filled = bytearray(data + full)
    struct.pack_into("<H", filled, sizes + 2, len(full))
    struct.pack_into("<I", filled, places + 4, len(data))
    assert (image_from_bytes(bytes(filled)) == image_from_bytes(data)).all()
    assert (image_from_bytes(data)[..., ::-1] == rows).all()
