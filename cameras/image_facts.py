"""What a file says of its picture: size and camera from the header, and its samples as stored.

The camera's make and model are read from EXIF (JEITA CP-3451, tags 0x010F and 0x0110 of the first
directory) in JPEG and TIFF files; what cannot be read there is left out, and never an error.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cameras.decoding.headers import orientation_from_header, size_from_header
from cameras.decoding.orientation import SIDEWAYS
from cameras.decoding.tiff_directory import directory_from_tiff
from cameras.errors import ImageError
from cameras.image_files import (
    MAX_BYTES,
    decode_file,
    kind_from_bytes,
    naming,
    samples_from_bytes,
)
from cameras.redaction import one_line
from process.plain_files import open_plain_file

MAX_NAME = 60  # characters of a camera's name
_MAKE, _MODEL = 0x010F, 0x0110
_TEXT = 2  # type of EXIF's values
_MAX_ENTRIES = 512
_EVERY = 8  # px: so many rows and columns apart are looked at for colour
_COLOURFUL = 2.0  # levels of 255 by which channels differ on average; JPEG's rounding is less


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the beginning of a file says.

    Attributes:
        kind: such as ``PNG``.
        size: (height, width) in px as the picture is read, turned as EXIF says.
        camera: make and model; empty where the file names none.
    """

    kind: str
    size: tuple[int, int]
    camera: str


@dataclass(frozen=True, slots=True)
class ImageSamples:
    """A picture's samples, before anything is made of them.

    Attributes:
        bits: of a sample: 8, 16 or 32.
        is_float: whether they are fractions.
        brightest: highest one; 0 where they are fractions.
        is_grey: whether there is one channel, or all of them are equal.
    """

    bits: int
    is_float: bool
    brightest: float
    is_grey: bool


def header_from_file(path: str | os.PathLike[str]) -> ImageHeader:
    """Read a file's beginning.

    Raises:
        ImageError: no image of a known kind, no size in its header, or it cannot be read.
    """
    with naming(path), open_plain_file(Path(path), max_bytes=MAX_BYTES) as file:
        kind = kind_from_bytes(file.read(16))
        if kind is None:
            raise ImageError("not an image that can be read")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            width, height = size_from_header(content, kind)
            turn = orientation_from_header(content, kind)
        camera = _camera_from_exif(file, kind)
    size = (width, height) if turn in SIDEWAYS else (height, width)
    return ImageHeader(kind, size, camera)


def samples_from_file(path: str | os.PathLike[str]) -> ImageSamples:
    """Decode a file and look at its samples.

    Raises:
        ImageError: as `cameras.image_files.image_from_file`, but for the kind of samples.
    """
    return decode_file(path, _look_at_samples)


def _look_at_samples(data: bytes) -> ImageSamples:
    if kind_from_bytes(data) == "TIFF":
        directory = directory_from_tiff(data)
        if directory.has_fractions:  # which are not decoded: nobody says which is white
            bits, is_grey_tiff = directory.bits[0], directory.samples < 3
            return ImageSamples(bits, is_float=True, brightest=0.0, is_grey=is_grey_tiff)
    samples = samples_from_bytes(data)
    return ImageSamples(
        bits=8 * samples.dtype.itemsize,
        is_float=False,
        brightest=float(samples.max()),
        is_grey=is_grey(samples),
    )


def is_grey(samples: npt.NDArray[Any]) -> bool:
    """Whether a picture has no colour; a few pixels are looked at.

    Args:
        samples: (H, W) or (H, W, channels), of any type.
    """
    if samples.ndim < 3 or samples.shape[2] < 3:
        return True
    some = samples[::_EVERY, ::_EVERY, :3].astype(np.float32)
    apart = float((some.max(axis=2) - some.min(axis=2)).mean())
    return apart <= _COLOURFUL * float(some.max()) / 255.0


def _camera_from_exif(file: BinaryIO, kind: str) -> str:
    """Make and model; empty where the file names none, or is damaged there."""
    try:
        begin = 0 if kind == "TIFF" else _find_exif(file) if kind == "JPEG" else None
        found = {} if begin is None else _read_names(file, begin)
    except (struct.error, ValueError, LookupError):
        return ""
    make, model = found.get(_MAKE, ""), found.get(_MODEL, "")
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    return one_line(name.strip())[:MAX_NAME]


def _find_exif(file: BinaryIO) -> int | None:
    """Where TIFF's header begins inside a JPEG's first EXIF segment; None without one."""
    file.seek(2)
    while True:
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            return None
        length = struct.unpack(">H", head[2:])[0]
        place = file.tell()
        if head[1] == 0xE1 and file.read(6) == b"Exif\0\0":
            return place + 6
        file.seek(place + length - 2)


def _read_names(file: BinaryIO, begin: int) -> dict[int, str]:
    """Make and model of TIFF's first directory, by their tags."""
    file.seek(begin)
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    _, first = struct.unpack(order + "HI", file.read(6))
    file.seek(begin + first)
    (count,) = struct.unpack(order + "H", file.read(2))
    found = {}
    for entry in [file.read(12) for _ in range(min(count, _MAX_ENTRIES))]:
        tag, kind, length = struct.unpack(order + "HHI", entry[:8])
        if tag not in (_MAKE, _MODEL) or kind != _TEXT:
            continue
        text = entry[8 : 8 + length]
        if length > 4:  # then the entry says where it is
            file.seek(begin + struct.unpack(order + "I", entry[8:])[0])
            text = file.read(min(length, MAX_NAME))
        found[tag] = text.split(b"\0")[0].decode("ascii", "replace").strip()
    return found
