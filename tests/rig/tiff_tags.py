"""Tags of a TIFF made wrong one at a time, and a second reader of what comes of it."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tifffile
from odd_pictures import bgr, eight, grey, upright
from PIL import Image

_MOST = 16_000_000  # samples: what a damaged header may ask of the second reader
_NUMBERS = (0, 65535, 266, 274, 284, 317, 338, 339)
_TYPES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 16, 255)
_COUNTS = (0, 1, 2, 3, 4, 16, 769, 1 << 20, 1 << 31)
_VALUES = (0, 1, 2, 3, 4, 6, 8, 9, 16, 31, 33, 64, 100, 256, 32773, 65535)
_LONG_VALUES = (100, 1 << 16, 1 << 24, (1 << 32) - 1)


def wrong_tags(data: bytes) -> Iterator[tuple[tuple[int, str, int], bytes]]:
    """Yield what was changed (tag, field, value), and the TIFF with that."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    size, entry = ("Q", 20) if is_big else ("I", 12)
    (place,) = struct.unpack_from(order + size, data, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, place)
    first = place + (8 if is_big else 2)
    behind = 4 + struct.calcsize(size)
    fields = (
        *(("number", 0, "H", _NUMBERS), ("type", 2, "H", _TYPES), ("count", 4, size, _COUNTS)),
        *(("value", behind, "H", _VALUES), ("long value", behind, "I", _LONG_VALUES)),
    )
    for at in range(first, first + count * entry, entry):
        (tag,) = struct.unpack_from(order + "H", data, at)
        for field, offset, kind, values in fields:
            for value in values:
                changed = bytearray(data)
                struct.pack_into(order + kind, changed, at + offset, value)
                if changed != data:
                    yield (tag, field, value), bytes(changed)


def read_by_tifffile(data: bytes) -> npt.NDArray[np.uint8]:
    """(H, W, 3) BGR of the first picture, turned; alpha is dropped.

    Raises:
        Exception: of many kinds, where it does not read it.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        if page.imagewidth * page.imagelength * page.samplesperpixel > _MOST:
            raise ValueError
        array = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1 and array.ndim == 3:
            array = np.moveaxis(array, 0, -1)
        turn = 1
        with contextlib.suppress(KeyError):
            turn = int(page.tags[274].value)
        shown = _show(array.astype(np.uint16), page)
        return upright(shown, turn if turn in range(1, 9) else 1)


def _show(array: npt.NDArray[np.uint16], page: tifffile.TiffPage) -> npt.NDArray[np.uint8]:
    bits, photometric = page.bitspersample, int(page.photometric)
    if photometric == 3:
        return bgr((np.asarray(page.colormap) >> 8).astype(np.uint8).T[array])
    most = (1 << bits) - 1
    levels = most - array if photometric == 0 else array
    levels = eight(levels) if bits == 16 else (levels * 255 // most).astype(np.uint8)
    if photometric < 2:
        return grey(levels if levels.ndim == 2 else levels[..., 0])
    if photometric == 5:
        return bgr(np.asarray(Image.fromarray(levels[..., :4], "CMYK").convert("RGB")))
    return bgr(levels[..., :3])
