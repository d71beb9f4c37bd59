"""Size and soundness of pictures, as their decoders understand them.

A header that two readers understand differently lets a small file ask for all the memory. So
these follow the decoders' own rules, and what is decoded is compared with them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from cameras.decoding.jpeg_markers import APP1, jpeg_segments, jpeg_size
from cameras.decoding.tiff_directory import Readable, directory_from_tiff, orientation_from_exif
from cameras.errors import ImageError

_PNG_SIGNATURE = 8  # bytes
_MAX_CHUNKS = 1 << 17  # the largest picture has 75 000 of the 8 KB that libpng writes
_PNM_HEADER = 4096  # bytes, with all comments
_BMP_PLAIN = (0, 3, 6)  # pixels, by default or by masks
_CHANGE_PIXELS = frozenset({b"tRNS", b"eXIf"})  # though no decoder must know them
_CHUNK = struct.Struct(">I4s")
_PNM_SIZE = re.compile(
    rb"P[2356](?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})"
)
_EXIF = b"Exif\0\0"


def size_from_header(data: Readable, kind: str) -> tuple[int, int]:
    """Return (width, height) in px, before the orientation in EXIF is applied.

    Args:
        data: the whole file, or its map in memory.
        kind: PNG, JPEG, BMP, WebP, TIFF, GIF or PNM.

    Raises:
        ImageError: cut short, damaged, or of a variant that is not read.
    """
    try:
        return _SIZES[kind](data)
    except (struct.error, IndexError) as error:
        raise ImageError(f"this {kind} is cut short or damaged in its header") from error


def sound_png(data: bytes) -> bytes:
    """Return a PNG of nothing but what its pixels need.

    For an animation its decoder would take memory, and for compressed text a second for each
    megabyte. A damaged eXIf or tRNS would silently turn the picture, or change its colours:
    decoders forgive damage in all but what they cannot do without.

    Raises:
        ImageError: cut short or damaged.
    """
    chunks = list(_png_chunks(data))
    for name, begin, end in chunks:
        if name == b"IDAT":  # its decoder checks it
            continue
        if zlib.crc32(data[begin - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ImageError(f"this PNG is damaged in its {_printable(name)} part; copy it again")
    needed = [(begin, end) for name, begin, end in chunks if _is_needed(name)]
    if len(needed) == len(chunks):
        return data
    kept = (data[begin - 8 : end + 4] for begin, end in needed)
    return b"".join((data[:_PNG_SIGNATURE], *kept))


def _is_needed(name: bytes) -> bool:
    """Whether it is a chunk that decoders must know, by its capital, or that changes pixels."""
    return name[:1].isupper() or name in _CHANGE_PIXELS


def _png_chunks(data: Readable) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, begin and end of the content of each chunk up to the last."""
    place = _PNG_SIGNATURE
    name, count = b"", 0
    while name != b"IEND":
        count += 1
        if count > _MAX_CHUNKS:
            raise ImageError(f"this PNG has more than {_MAX_CHUNKS} parts; save it again")
        if place + 12 > len(data):
            raise ImageError("this PNG is cut short; copy it again")
        length, name = _CHUNK.unpack_from(data, place)
        begin, end = place + 8, place + 8 + length
        if end + 4 > len(data):
            raise ImageError("this PNG is cut short; copy it again")
        yield name, begin, end
        place = end + 4


def _png_size(data: Readable) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ImageError("this PNG is damaged in its header; copy it again")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _tiff_size(data: Readable) -> tuple[int, int]:
    directory = directory_from_tiff(data)
    return directory.width, directory.height


def orientation_from_header(data: Readable, kind: str) -> int:
    """Return how the picture has to be turned, 1 to 8 as in EXIF; 1 where nothing says so.

    Args:
        data: the whole file, or its map in memory.
        kind: as for `size_from_header`.

    Raises:
        ImageError: cut short or damaged.
    """
    if kind == "TIFF":
        return directory_from_tiff(data).orientation
    try:
        exif = next(_exif_parts(data, kind), b"")
    except struct.error as error:
        raise ImageError(f"this {kind} is cut short or damaged in its header") from error
    return orientation_from_exif(exif.removeprefix(_EXIF))


def _exif_parts(data: Readable, kind: str) -> Iterator[bytes]:
    """Yield what there is of EXIF; many writers put JPEG's prefix into a WebP, too."""
    if kind == "JPEG":
        for marker, begin, end in jpeg_segments(data):
            if marker == APP1 and data[begin : begin + len(_EXIF)] == _EXIF:
                yield data[begin:end]
    elif kind in ("PNG", "WebP"):
        chunks = _png_chunks(data) if kind == "PNG" else _webp_chunks(data)
        for name, begin, end in chunks:
            if name.upper() == b"EXIF":
                yield data[begin:end]


def _bmp_size(data: Readable) -> tuple[int, int]:
    begin, header = struct.unpack_from("<II", data, 10)
    if header == 12:  # OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    elif header in (40, 52, 56, 64, 108, 124):
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        height = abs(height)  # one that is stored from the top has a negative height
    else:
        raise ImageError("this BMP is damaged in its header; copy it again")
    if compression not in _BMP_PLAIN:  # what is missing of runs would be black
        raise ImageError("this BMP is compressed; save it uncompressed, or as PNG")
    rows = (width * bits + 31) // 32 * 4
    if begin < 14 + header or (width > 0 and begin + rows * height > len(data)):
        raise ImageError("this BMP is cut short or damaged; copy it again")
    return width, height


def _gif_size(data: Readable) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _webp_size(data: Readable) -> tuple[int, int]:
    name, begin, _ = next(_webp_chunks(data), (b"", 0, 0))
    if name == b"VP8X":
        (wide, high) = (data[at : at + 3] for at in (begin + 4, begin + 7))
        return int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
    if name == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, begin + 1)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, begin + 6)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageError("this WebP has no size in its header; it is damaged")


def _webp_chunks(data: Readable) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, begin and end of the content of each chunk.

    Raises:
        ImageError: they are not as long as the file says.
    """
    (length,) = struct.unpack_from("<I", data, 4)
    place, last = 12, min(8 + length, len(data))
    if 8 + length > len(data):
        raise ImageError("this WebP is cut short; copy it again")
    while place + 8 <= last:
        name, size = struct.unpack_from("<4sI", data, place)
        begin, end = place + 8, place + 8 + size
        if end > last:
            raise ImageError("this WebP is cut short or damaged; copy it again")
        yield name, begin, end
        place = end + size % 2


def _pnm_size(data: Readable) -> tuple[int, int]:
    found = _PNM_SIZE.match(data[:_PNM_HEADER])
    if found is None:
        raise ImageError("this PNM has no size in its header; it is damaged")
    return int(found[1]), int(found[2])


def _printable(name: bytes) -> str:
    return name.decode("ascii") if name.isalpha() else "?"


_SIZES: Mapping[str, Callable[[Readable], tuple[int, int]]] = MappingProxyType(
    {
        "TIFF": _tiff_size,
        "PNG": _png_size,
        "JPEG": jpeg_size,
        "BMP": _bmp_size,
        "WebP": _webp_size,
        "GIF": _gif_size,
        "PNM": _pnm_size,
    }
)
