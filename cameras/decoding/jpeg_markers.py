"""JPEG's segments and markers (ITU-T T.81), as its decoders understand them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from cameras.decoding.tiff_directory import Readable
from cameras.errors import ImageError

APP1 = 0xE1  # of EXIF
_MAX_SEGMENTS = 4096  # as many as 256 MB of metadata
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that stand alone
_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} - _PLAIN_FRAMES
_MARKER = re.compile(rb"\xff[^\x00\xff]")


def jpeg_size(data: Readable) -> tuple[int, int]:
    """Return (width, height) in px.

    Raises:
        ImageError: cut short, damaged, or of a variant that is not read.
    """
    for marker, begin, _ in jpeg_segments(data):
        if marker in _OTHER_FRAMES:
            raise ImageError(f"this is a JPEG {_other_frame(marker)}; save it as a baseline JPEG")
        if marker in _PLAIN_FRAMES:
            precision, height, width = struct.unpack_from(">BHH", data, begin)
            if precision != 8:
                raise ImageError(f"this JPEG has {precision}-bit samples; save it with 8 bits")
            return width, height
    raise ImageError("this JPEG has no size in its header; it is damaged")


def jpeg_segments(data: Readable) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of the content of each segment before the picture's data."""
    place = 2
    for _ in range(_MAX_SEGMENTS):
        marker, place = _next_marker(data, place)
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        if marker in _NO_LENGTH:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if length < 2 or place + length > len(data):
            raise ImageError("this JPEG is cut short or damaged in its header")
        yield marker, place + 2, place + length
        place += length
    raise ImageError(f"this JPEG has more than {_MAX_SEGMENTS} parts in its header; save it again")


def _next_marker(data: Readable, place: int) -> tuple[int, int]:
    """The next marker, and the place behind it; bytes before it are skipped, as decoders do."""
    found = _MARKER.search(data, place)
    if found is None:
        raise ImageError("this JPEG is cut short or damaged in its header")
    return data[found.end() - 1], found.end()


def _other_frame(marker: int) -> str:
    if marker >= 0xC9:
        return "with arithmetic coding"
    return "of the lossless kind" if marker in (0xC3, 0xC7) else "of the hierarchical kind"
