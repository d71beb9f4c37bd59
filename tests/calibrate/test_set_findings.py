"""What a set of images says about where it comes from."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from calibrate.set_findings import find_in_set
from cameras.image_facts import header_from_file

GREY = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64)  # 0 to 3071: 12 bits


def texts(folder, **given) -> dict[str, str]:
    found = find_in_set(sorted(folder.iterdir()), **given)
    return {one.kind: one.text for one in found}


def write(path, image) -> None:
    assert cv2.imwrite(str(path), image)


def exif(make: str, model: str) -> bytes:
    """An EXIF segment of a JPEG, of one directory with two names."""
    texts = [name.encode() + b"\0" for name in (make, model)]
    begin = 8 + 2 + 2 * 12 + 4
    entries, data = b"", b""
    for tag, text in zip((0x010F, 0x0110), texts, strict=True):
        place = (
            struct.pack(">I", begin + len(data))
            if len(text) > 4
            else text + b"\0" * (4 - len(text))
        )
        entries += struct.pack(">HHI", tag, 2, len(text)) + place
        data += text if len(text) > 4 else b""
    tiff = b"MM\0*" + struct.pack(">IH", 8, 2) + entries + b"\0" * 4 + data
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def test_images_of_one_camera_say_nothing(tmp_path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", (GREY // 16).astype(np.uint8))
    assert texts(tmp_path) == {}


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_twelve_bits_in_sixteen_are_told_until_the_depth_is_given(tmp_path, kind) -> None:
    write(tmp_path / f"a.{kind}", np.where(np.max(GREY) == GREY, np.uint16(4095), GREY))
    told = texts(tmp_path)["bit depth"]
    assert told.startswith("brightest pixel is 16 of 255: the 16-bit files hold 12-bit values")
    assert "give --bit-depth 12" in told
    assert texts(tmp_path, bit_depth=12) == {}
    write(tmp_path / f"b.{kind}", GREY * 20)
    assert texts(tmp_path) == {}


def test_a_depth_for_eight_bits_and_fractions_are_told(tmp_path) -> None:
    write(tmp_path / "a.png", (GREY // 16).astype(np.uint8))
    assert texts(tmp_path, bit_depth=12) == {
        "bit depth": "no image has 16 bits: --bit-depth 12 changes nothing"
    }
    write(tmp_path / "b.tif", GREY.astype(np.float32) / 4096)
    told = texts(tmp_path)
    assert told["bit depth"].startswith("1 of 2 images hold fractions, such as b.tif")
    assert told["kinds"].startswith("kinds of files differ: 1 PNG, 1 TIFF (such as b.tif)")


def test_sizes_kinds_and_colours_that_differ_are_told(tmp_path) -> None:
    grey = (GREY // 16).astype(np.uint8)
    for name in ("a.png", "b.png"):
        write(tmp_path / name, grey)
    write(tmp_path / "c.jpg", cv2.applyColorMap(grey[:40], cv2.COLORMAP_JET))
    told = texts(tmp_path)
    assert told["sizes"].startswith("sizes differ: 2 64x48 px, 1 64x40 px (such as c.jpg);")
    assert told["kinds"].startswith("kinds of files differ: 2 PNG, 1 JPEG (such as c.jpg);")
    assert told["colour"].startswith("colours differ: 2 grey, 1 in colour (such as c.jpg);")


def test_cameras_are_told_by_the_names_in_their_files(tmp_path) -> None:
    _, data = cv2.imencode(".jpg", (GREY // 16).astype(np.uint8))
    plain = data.tobytes()
    for name, segment in {
        "a.jpg": exif("Basler", "Basler acA1920"),
        "b.jpg": exif("Basler", "Basler acA1920"),
        "c.jpg": exif("CAN", "EOS"),
        "d.jpg": b"",
        "e.jpg": exif("Basler", "Basler acA1920")[:40],  # its length is wrong: damaged
    }.items():
        (tmp_path / name).write_bytes(plain[:2] + segment + plain[2:])
    assert header_from_file(tmp_path / "c.jpg").camera == "CAN EOS"
    assert texts(tmp_path)["cameras"].startswith(
        "cameras differ: 2 Basler acA1920, 2 without a name (such as d.jpg), 1 CAN EOS"
    )


def test_what_is_no_image_is_passed_over(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe1\xff")
    (tmp_path / "c.tif").write_bytes(b"II*\0\xff\xff\xff\xff")
    (tmp_path / "d.png").write_bytes(b"no image")
    assert texts(tmp_path) == {}
