"""A small file takes no more memory than its pixels are worth, however it is written."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import threading
import tokenize
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from packages import PACKAGES, ROOT
from PIL import Image

from cameras.decoding.headers import sound_png
from cameras.decoding.limits import (
    MAX_DECODING_BYTES,
    MAX_PIXELS,
    MOST_BYTES_PER_PIXEL,
    DecodingBudget,
    bytes_per_pixel,
    check_size,
)
from cameras.errors import ImageError
from cameras.image_files import image_from_bytes

SIDE = 1500  # px
DECODERS = re.compile(
    r"\b(imread\w*|imdecode\w*|decode_jpeg|Image ?\. ?open|ImageFile ?\. ?Parser"
    r"|imageio|tifffile)\b\(?"
)
SLACK = 24 << 20  # bytes: what libraries keep for themselves
MEASURE = """
import json, sys
from cameras.image_files import ImageError, image_from_file

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10

image_from_file(sys.argv[1])
for path in sys.argv[2:]:
    open("/proc/self/clear_refs", "w").write("5")
    before, said = peak(), ""
    try:
        image_from_file(path)
    except ImageError as error:
        said = str(error)
    print(json.dumps([path, peak() - before, said]))
"""


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def deep_png(*, channels: int, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = zlib.compress(bytes((1 + 2 * channels * SIDE) * SIDE), 1)
    content = chunk(b"IHDR", header) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def two_widths(width: int) -> bytes:
    """A TIFF of 64 x 64 whose width is given a second time."""
    tags = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 64, 279: 64 * 64}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries.insert(1, struct.pack("<HHII", 256, 4, 1, width))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    return head.ljust(200, b"\0") + bytes(64 * 64)


@pytest.fixture(scope="module")
def peaks(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """By the file's name: bytes at the peak of its decoding, and what was said."""
    folder = tmp_path_factory.mktemp("large")
    animation = chunk(b"acTL", struct.pack(">II", 2, 0))
    animation += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 1, 0, 0))
    deep = cv2.imencode(".tif", np.zeros((SIDE, SIDE, 3), np.uint16))[1]
    files = {
        "small.png": cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes(),
        "deep.png": deep_png(channels=3),
        "animated.png": deep_png(channels=4, extra=animation),
        "deep.tif": deep.tobytes(),
        "clear.WebP": cv2.imencode(".webp", np.zeros((SIDE, SIDE, 4), np.uint8))[1].tobytes(),
        "widths.tif": two_widths(60_000),
        "narrow.tif": two_widths(1),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *(str(folder / name) for name in files)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = (json.loads(line) for line in said.splitlines())
    return {Path(path).name: (peak, reason) for path, peak, reason in found}


@pytest.mark.parametrize("name", ["deep.png", "animated.png", "deep.tif", "clear.WebP"])
def test_decoding_takes_what_is_set_aside_for_it(peaks, name) -> None:
    peak, reason = peaks[name]
    assert not reason
    assert 3 * SIDE**2 < peak < bytes_per_pixel(name.rpartition(".")[2]) * SIDE**2 + SLACK


@pytest.mark.parametrize("name", ["widths.tif", "narrow.tif"])
def test_a_tiff_with_two_widths_is_refused_before_anything_is_decoded(peaks, name) -> None:
    peak, reason = peaks[name]
    assert "this TIFF has tag 256 twice; save it again" in reason
    assert peak < SLACK


def test_what_is_decoded_at_once_shares_one_budget_and_a_large_one_gets_its_turn() -> None:
    budget = DecodingBudget(10 * MOST_BYTES_PER_PIXEL)
    order: list[str] = []
    began, may_end = threading.Event(), threading.Event()

    def decode(name: str, pixels: int) -> None:
        with budget.take("PNG", pixels, file_bytes=0):
            order.append(name)
            began.set()
            may_end.wait(5)

    first = threading.Thread(target=decode, args=("first", 6))
    first.start()
    assert began.wait(5)
    large = threading.Thread(target=decode, args=("large", 1_000))  # more than all of it
    large.start()
    small = threading.Thread(target=decode, args=("small", 1))
    large.join(0.05)
    small.start()
    small.join(0.05)
    assert order == ["first"]
    may_end.set()
    for thread in (first, large, small):
        thread.join(5)
    assert order == ["first", "large", "small"]


def test_the_largest_picture_that_is_read_fits_into_the_budget() -> None:
    assert MAX_PIXELS * MOST_BYTES_PER_PIXEL <= MAX_DECODING_BYTES
    check_size("PNG", 10_000, MAX_PIXELS // 10_000)
    for kind, width, height, most in (
        ("PNG", 10_001, 10_000, 100),
        ("PNG", 1 << 21, 1, 100),
        ("WebP", 9_000, 9_000, 65),
    ):
        with pytest.raises(ImageError, match=f"more than {most} megapixels are not read of a"):
            check_size(kind, width, height)


@pytest.mark.parametrize("package", ["edge", "calibrate", "cameras"])
def test_whichever_package_comes_first_opencv_has_the_same_limits(package) -> None:
    code = (
        f"import {package}, cv2, numpy, os\n"
        "assert os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'] == '100000000'\n"
        "try: cv2.imdecode(numpy.frombuffer(b'P5 20000 5001 255 ', numpy.uint8), 1)\n"
        "except cv2.error as error: print('refused', 'PIXELS' in str(error))\n"
    )
    names = ("PIXELS", "WIDTH", "HEIGHT")
    bare = {
        name: value
        for name, value in os.environ.items()
        if name not in {f"OPENCV_IO_MAX_IMAGE_{one}" for one in names}
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=bare, check=True
    )
    assert done.stdout.split() == ["refused", "True"]


def test_pictures_are_decoded_in_one_place() -> None:
    """Where size, damage and memory are seen to first."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.parent != ROOT / "cameras" / "decoding"
        for number, line in enumerate(code_of(path).splitlines(), 1)
        if DECODERS.search(line)
    ]
    assert found == []


def code_of(path: Path) -> str:
    """A module line by line, its strings and comments left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if not DECODERS.search("".join(lines)):
        return ""
    code: dict[int, str] = {}
    for token in tokenize.generate_tokens(iter(lines).__next__):
        if token.type not in (tokenize.STRING, tokenize.COMMENT):
            code[token.start[0]] = code.get(token.start[0], "") + token.string.strip() + " "
    return "\n".join(code.get(number, "") for number in range(1, len(lines) + 1))


LITTLE = """
import json, resource, sys
import cv2, numpy
from cameras.image_files import ImageError, image_from_bytes, image_from_file

small = cv2.imencode(".png", numpy.zeros((8, 8), numpy.uint8))[1].tobytes()
image_from_bytes(small)
files = [open(path, "rb").read() for path in sys.argv[2:]]
lines = open("/proc/self/status").read().splitlines()
size = int(next(line for line in lines if line.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + (40 << 20),) * 2)
for read, argument in [(image_from_file, sys.argv[1]), *((image_from_bytes, one) for one in files)]:
    try:
        print(json.dumps(["", read(argument).shape]))
    except ImageError as error:
        print(json.dumps([str(error), 0]))
    assert image_from_bytes(small).shape == (8, 8, 3)
"""


def test_a_picture_for_which_memory_is_lacking_says_so_and_the_next_is_read(tmp_path) -> None:
    side = 3800
    large = np.zeros((side, side, 3), np.uint8)
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        (tmp_path / f"large{suffix}").write_bytes(cv2.imencode(suffix, large)[1].tobytes())
    with (tmp_path / "file.png").open("wb") as file:
        file.truncate(200 << 20)
    names = [tmp_path / "file.png", *sorted(tmp_path.glob("large*"))]
    command = [sys.executable, "-c", LITTLE, *map(str, names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole, *others = (json.loads(line)[0] for line in done.stdout.splitlines())
    assert whole == f"{names[0]}: too little memory to read it; free some, or scale it down"
    says = f"too little memory for {side} x {side} pixels; free some, or scale it down"
    assert others == [says] * 4


def test_what_a_png_says_beside_its_pixels_is_not_unpacked() -> None:
    text = chunk(b"zTXt", b"name\0\0" + zlib.compress(bytes(1000)))
    colours = chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(1000)))
    turned, clear = chunk(b"eXIf", b"II*\0" + bytes(8)), chunk(b"tRNS", bytes(6))
    data = deep_png(channels=3, extra=text + colours + turned + clear)
    assert sound_png(data) == deep_png(channels=3, extra=turned + clear)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    """Each is a walk over all the picture: 230 KB took half a minute."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    assert image_from_bytes(data).shape == (64, 64, 3)
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    with pytest.raises(ImageError, match="more than 100 scans"):
        image_from_bytes(data[:end] + data[last:end] * 100 + data[end:])


def test_a_header_of_millions_of_parts_is_refused_at_once() -> None:
    """Forty megabytes of them took forty seconds, or three gigabytes."""
    png = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    many = {
        png[:33] + chunk(b"tEXt", b"a\0b") * (1 << 18) + png[33:]: "this PNG has more than 131072",
        jpeg[:2] + b"\xff\xe1\0\2" * 5000 + jpeg[2:]: "this JPEG has more than 4096 parts",
        b"P6 " + b"#a\n" * (1 << 20) + b"8 8 255 " + bytes(192): "this PNM has no size",
    }
    for data, says in many.items():
        with pytest.raises(ImageError, match=says):
            image_from_bytes(data)
    few = jpeg[:2] + b"\xff\xe1\0\2" * 400 + jpeg[2:]
    assert image_from_bytes(few).shape == (8, 8, 3)
