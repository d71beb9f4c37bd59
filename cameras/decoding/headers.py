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

from cameras.decoding.tiff_directory import Readable, directory_from_tiff, orientation_from_exif
from cameras.errors import ImageError

_PNG_SIGNATURE = 8  # bytes
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_CHUNK = struct.Struct(">I4s")
_PNM_SIZE = re.compile(
    rb"P[2356](?:\s|#[^\r\n]*[\r\n])+(\d{1,10})(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})"
)
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that stand alone
_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} - _PLAIN_FRAMES
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
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
    """Return a PNG without its animation, for which its decoder would take memory.

    A damaged eXIf or tRNS would silently turn the picture, or change its colours: decoders forgive
    damage in all but what they cannot do without.

    Raises:
        ImageError: cut short or damaged.
    """
    kept = [data[:_PNG_SIGNATURE]]
    for name, begin, end in _png_chunks(data):
        if name in _ANIMATION:
            continue
        kept.append(data[begin - 8 : end + 4])
        stored = struct.unpack_from(">I", data, end)[0]
        # Its decoder checks the picture itself.
        if name != b"IDAT" and zlib.crc32(data[begin - 4 : end]) != stored:
            raise ImageError(f"this PNG is damaged in its {_printable(name)} part; copy it again")
    return b"".join(kept)


def _png_chunks(data: Readable) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, begin and end of the content of each chunk up to the last."""
    place = _PNG_SIGNATURE
    name = b""
    while name != b"IEND":
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
    exif = next(_exif_parts(data, kind), b"")
    return orientation_from_exif(exif.removeprefix(_EXIF))


def _exif_parts(data: Readable, kind: str) -> Iterator[bytes]:
    """Yield what there is of EXIF; many writers put JPEG's prefix into a WebP, too."""
    if kind == "JPEG":
        for marker, begin, end in _jpeg_segments(data):
            if marker == _APP1 and data[begin : begin + len(_EXIF)] == _EXIF:
                yield data[begin:end]
    elif kind in ("PNG", "WebP"):
        chunks = _png_chunks(data) if kind == "PNG" else _webp_chunks(data)
        for name, begin, end in chunks:
            if name.upper() == b"EXIF":
                yield data[begin:end]


def _jpeg_size(data: Readable) -> tuple[int, int]:
    for marker, begin, _ in _jpeg_segments(data):
        if marker in _OTHER_FRAMES:
            raise ImageError(f"this is a JPEG {_other_frame(marker)}; save it as a baseline JPEG")
        if marker in _PLAIN_FRAMES:
            precision, height, width = struct.unpack_from(">BHH", data, begin)
            if precision != 8:
                raise ImageError(f"this JPEG has {precision}-bit samples; save it with 8 bits")
            return width, height
    raise ImageError("this JPEG has no size in its header; it is damaged")


def _jpeg_segments(data: Readable) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of the content of each segment before the picture's data."""
    place = 2
    while True:
        marker, place = _next_marker(data, place)
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        if marker in _NO_LENGTH:
            continue
        (length,) = struct.unpack_from(">H", data, place)
        yield marker, place + 2, place + length
        place += max(length, 2)


def _next_marker(data: Readable, place: int) -> tuple[int, int]:
    """The next marker and the place behind it; bytes before it are skipped, as decoders do."""
    while True:
        place = data.find(b"\xff", place)
        if place < 0:
            raise ImageError("this JPEG is cut short or damaged in its header")
        while data[place] == 0xFF:
            place += 1
        marker, place = data[place], place + 1
        if marker:
            return marker, place


def _other_frame(marker: int) -> str:
    if marker >= 0xC9:
        return "with arithmetic coding"
    return "of the lossless kind" if marker in (0xC3, 0xC7) else "of the hierarchical kind"


def _bmp_size(data: Readable) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)  # one that is stored from the top has a negative height


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
    found = _PNM_SIZE.match(data)
    if found is None:
        raise ImageError("this PNM has no size in its header; it is damaged")
    return int(found[1]), int(found[2])


def _printable(name: bytes) -> str:
    return name.decode("ascii") if name.isalpha() else "?"


_SIZES: Mapping[str, Callable[[Readable], tuple[int, int]]] = MappingProxyType(
    {
        "TIFF": _tiff_size,
        "PNG": _png_size,
        "JPEG": _jpeg_size,
        "BMP": _bmp_size,
        "WebP": _webp_size,
        "GIF": _gif_size,
        "PNM": _pnm_size,
    }
)
