"""Strips and tiles of a TIFF, compared with what the picture needs before they are decoded.

The library that decodes them stops when it has enough, so that it passes over checksums behind
that, and makes up what is missing of a JPEG.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator

from cameras.decoding.jpeg import samples_from_jpeg
from cameras.decoding.jpeg_markers import jpeg_size
from cameras.decoding.tiff_directory import TiffDirectory
from cameras.errors import ImageError

NO_COMPRESSION, JPEG, LZMA = 1, 7, 34925
DEFLATE = frozenset({8, 32946})
_CHUNK = 1 << 20  # bytes
_MAX_LZMA_BYTES = 128 << 20  # memory: the strongest preset takes 65 MiB
_MAX_TABLES_BYTES = 1 << 16  # they are read anew for each part
_DAMAGED = "this TIFF is damaged or cut short; copy it again"
_START, _END = b"\xff\xd8", b"\xff\xd9"


def check_parts(data: bytes, directory: TiffDirectory) -> None:
    """See that each part is whole, as far as its compression tells.

    Raises:
        ImageError: a part is damaged, or less or more than its place in the picture.
    """
    rows, columns = directory.part_shape
    bits = directory.bits[0] * (1 if directory.is_planar else directory.samples)
    row = -(-columns * bits // 8)
    most = rows * row
    for (begin, size), needed in zip(directory.parts, _rows_of_parts(directory), strict=True):
        part, least = data[begin : begin + size], needed * row
        if directory.compression == NO_COMPRESSION:
            is_whole = size >= least
        elif directory.compression in DEFLATE:
            is_whole = least <= _bytes_in_deflate(part, most) <= most
        elif directory.compression == LZMA:
            is_whole = least <= _bytes_in_lzma(part, most) <= most
        elif directory.compression == JPEG:
            is_whole = _is_jpeg_of(part, data, directory, rows=needed)
        else:
            is_whole = True
        if not is_whole:
            raise ImageError(_DAMAGED)


def _rows_of_parts(directory: TiffDirectory) -> Iterator[int]:
    """Rows that each part has at least; of the lowest strip some writers fill up the rest."""
    rows, columns = directory.part_shape
    across, down = -(-directory.width // columns), -(-directory.height // rows)
    for number in range(len(directory.parts)):
        top = number // across % down * rows
        yield rows if directory.has_tiles else min(rows, directory.height - top)


def _bytes_in_deflate(part: bytes, most: int) -> int:
    """What is in it, with its checksum compared; more than `most` where that is too much."""
    inflater = zlib.decompressobj()
    count = 0
    try:
        while not inflater.eof and part and count <= most:
            count += len(inflater.decompress(part, _CHUNK))
            part = inflater.unconsumed_tail
    except zlib.error as error:
        raise ImageError(_DAMAGED) from error
    return count if inflater.eof else -1


def _bytes_in_lzma(part: bytes, most: int) -> int:
    """The same for LZMA."""
    inflater = lzma.LZMADecompressor(memlimit=_MAX_LZMA_BYTES)
    count = 0
    try:
        while not inflater.eof and (part or not inflater.needs_input) and count <= most:
            count += len(inflater.decompress(part, _CHUNK))
            part = b""
    except lzma.LZMAError as error:
        raise ImageError(_DAMAGED) from error
    return count if inflater.eof else -1


def _is_jpeg_of(part: bytes, data: bytes, directory: TiffDirectory, *, rows: int) -> bool:
    """Whether it is a JPEG of a part's size that decodes without a warning.

    Args:
        part: a strip or tile.
        data: the file, for the tables that all parts share.
        directory: what it says.
        rows: that the part has at least.

    Raises:
        ImageError: it does not, or is of a kind that is not read.
    """
    begin, size = directory.tables
    shared = data[begin : begin + size].removeprefix(_START).removesuffix(_END)
    most, columns = directory.part_shape
    width, height = jpeg_size(part)
    if width != columns or not rows <= height <= most or size > _MAX_TABLES_BYTES:
        return False
    samples_from_jpeg(_START + shared + part.removeprefix(_START))
    return True
