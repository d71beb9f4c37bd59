"""What a TIFF's first directory says: size, samples, and where they are (TIFF 6.0, BigTIFF)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from cameras.errors import ImageError

Readable: TypeAlias = bytes | mmap
_MAX_TAGS = 4096
_MAX_VALUES = 1 << 18  # of one tag: a strip for each row of 65 536 in four planes
_FORMATS = MappingProxyType({3: "H", 4: "I", 16: "Q"})  # types of whole numbers
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 274, 277, 278, 279
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 284, 322, 323, 324, 325
_FILL_ORDER, _PREDICTOR, _PALETTE, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT = (
    266,
    317,
    320,
    332,
    338,
    339,
)
_NUMBERS = frozenset(
    {
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS, _ORIENTATION),
        *(_SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT),
        *(_TILE_OFFSETS, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT),
        *(_FILL_ORDER, _PREDICTOR, _PALETTE, _INK_SET),
    }
)
"""What is asked before anything is decoded."""
_SINGLE = (
    _NUMBERS
    - {_BITS, _STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES}
    - {*(_PALETTE, _EXTRA_SAMPLES, _SAMPLE_FORMAT)}
)
"""What has one value: of several, readers take one or the other."""
_TABLES = 347  # of JPEG
_OF_DECODERS = frozenset({_TABLES, 529, 530, 531, 532})  # and of YCbCr in it
"""What samples cannot be understood without, beside those."""
_CUT = "this TIFF is cut short or damaged; copy it again"


class _ByteLayout(NamedTuple):
    """How numbers stand in a TIFF, and where its first directory is."""

    order: str  # of bytes, as in `struct`
    offset: str  # format of a place in the file
    tags: str  # format of the number of tags
    entry: int  # bytes
    header: int  # place of the first directory's place
    place: int


class _Tag(NamedTuple):
    """One tag: its entry in the directory, and where its values are."""

    number: int
    type: int
    values: int
    begin: int
    entry: bytes


@dataclass(frozen=True, slots=True)
class TiffDirectory:
    """The first picture of a TIFF.

    Attributes:
        width: in px, as it is stored.
        height: in px, as it is stored.
        bits: of a sample, one number for each.
        samples: of a pixel, those of `extra` included.
        formats: of each sample: 1 whole, 2 signed, 3 floating point.
        extra: samples beside the colours: 0 unspecified, 1 alpha that the colours are multiplied
            by, 2 alpha.
        photometric: 0 white is 0, 1 black is 0, 2 RGB, 3 palette, 5 inks, 6 YCbCr, …
        compression: 1 none, 5 LZW, 7 JPEG, 8 deflate, …
        orientation: 1 to 8, as in EXIF.
        is_planar: whether each colour is stored on its own.
        predictor: 1 none, 2 differences of neighbours.
        is_reversed: whether the bits of each byte stand in reverse order.
        inks: 1 for cyan, magenta, yellow and black.
        palette: numbers in the table of colours.
        tables: begin and size of what all JPEG parts share; (0, 0) without.
        has_tiles: whether `parts` are tiles.
        parts: begin and size of every strip or tile, in bytes.
        part_shape: (height, width) of a strip or a tile, in px.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    samples: int
    formats: tuple[int, ...]
    extra: tuple[int, ...]
    photometric: int
    compression: int
    orientation: int
    is_planar: bool
    predictor: int
    is_reversed: bool
    inks: int
    palette: int
    tables: tuple[int, int]
    has_tiles: bool
    parts: tuple[tuple[int, int], ...]
    part_shape: tuple[int, int]

    @property
    def has_fractions(self) -> bool:
        """Whether its samples are floating-point numbers."""
        return 3 in self.formats


def directory_from_tiff(data: Readable) -> TiffDirectory:
    """Read the first directory.

    Raises:
        ImageError: cut short, damaged, or ambiguous, such as a width that is given twice.
    """
    try:
        layout = _layout_of(data)
        directory = _directory_from_tags(_read_numbers(data, layout))
        _check_places(directory, layout.header + struct.calcsize(layout.offset), len(data))
        return directory
    except (struct.error, OverflowError) as error:
        raise ImageError(_CUT) from error


def orientation_from_exif(data: Readable) -> int:
    """Orientation, 1 to 8, in the TIFF that EXIF is; 1 where it says nothing that makes sense."""
    try:
        numbers = _read_numbers(data, _layout_of(data), frozenset({_ORIENTATION}))
    except (struct.error, OverflowError, ImageError):
        return 1
    return next(iter(numbers.get(_ORIENTATION, ())), 1)


def keep_one_directory(data: bytes, *, is_black_zero: bool = False) -> bytes:
    """Return the TIFF with the first directory alone, of which only what decoders need is left.

    What was checked is what is decoded: a tag that two readers understand differently, a thousand
    tags that share the same megabytes, further directories and metadata are not in it. Nor is
    the orientation, which is applied afterwards.

    Args:
        data: a TIFF whose directory was read.
        is_black_zero: whether to say so whatever it says; decoders differ in what they make of
            deep grey whose white is 0.
    """
    layout = _layout_of(data)
    wanted = (_NUMBERS | _OF_DECODERS) - {_ORIENTATION}
    tags = sorted(tag for tag in _read_tags(data, layout) if tag.number in wanted)
    head = struct.pack(f"{layout.order}{layout.tags}", len(tags))
    place = struct.Struct(f"{layout.order}{layout.offset}")
    padding = bytes(-len(data) % 8)
    rest = memoryview(data)[layout.header + place.size :]
    at = place.pack(len(data) + len(padding))
    black_is_zero = struct.pack(f"{layout.order}HH{layout.offset}HH", _PHOTOMETRIC, 3, 1, 1, 0)
    entries = b"".join(
        black_is_zero.ljust(layout.entry, b"\0")
        if is_black_zero and tag.number == _PHOTOMETRIC
        else tag.entry
        for tag in tags
    )
    return b"".join((data[: layout.header], at, rest, padding, head, entries, place.pack(0)))


def _layout_of(data: Readable) -> _ByteLayout:
    order = "<" if data[:2] == b"II" else ">"
    is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    offset, count, entry, header = ("Q", "Q", 20, 8) if is_big else ("I", "H", 12, 4)
    (place,) = struct.unpack_from(f"{order}{offset}", data, header)
    return _ByteLayout(order, offset, count, entry, header, place)


def _read_tags(data: Readable, layout: _ByteLayout) -> Iterator[_Tag]:
    """Yield the tags of the first directory.

    Raises:
        struct.error: cut short.
        ImageError: far too many.
    """
    (count,) = struct.unpack_from(f"{layout.order}{layout.tags}", data, layout.place)
    if count > _MAX_TAGS:
        raise ImageError(_CUT)
    first = layout.place + struct.calcsize(layout.tags)
    size = struct.calcsize(layout.offset)
    for at in range(first, first + count * layout.entry, layout.entry):
        number, kind, values = struct.unpack_from(f"{layout.order}HH{layout.offset}", data, at)
        begin = at + 4 + size
        if values * struct.calcsize(_FORMATS.get(kind, "B")) > size:
            (begin,) = struct.unpack_from(f"{layout.order}{layout.offset}", data, begin)
        yield _Tag(number, kind, values, begin, data[at : at + layout.entry])


def _read_numbers(
    data: Readable, layout: _ByteLayout, wanted: frozenset[int] = _NUMBERS | _OF_DECODERS
) -> dict[int, tuple[int, ...]]:
    """Values of the tags that are wanted, by the tag's number; of JPEG's tables their place."""
    found: dict[int, tuple[int, ...]] = {}
    for tag in _read_tags(data, layout):
        if tag.number not in wanted:
            continue
        if tag.number in found:  # readers differ in which of the two they believe
            raise ImageError(f"this TIFF has tag {tag.number} twice; save it again")
        found[tag.number] = _values_of(tag, data, layout)
    return found


def _values_of(tag: _Tag, data: Readable, layout: _ByteLayout) -> tuple[int, ...]:
    """Whole numbers; begin and size of what else decoders need.

    Raises:
        ImageError: of another type or number than it has to be, of which readers make something.
        struct.error: cut short.
    """
    if tag.number in _OF_DECODERS:
        if tag.begin + tag.values > len(data):
            raise ImageError(_CUT)
        return (tag.begin, tag.values)
    if tag.type not in _FORMATS or not 0 < tag.values <= (
        1 if tag.number in _SINGLE else _MAX_VALUES
    ):
        raise ImageError(f"this TIFF is damaged in its tag {tag.number}; save it again")
    return struct.unpack_from(f"{layout.order}{tag.values}{_FORMATS[tag.type]}", data, tag.begin)


def _directory_from_tags(numbers: Mapping[int, tuple[int, ...]]) -> TiffDirectory:
    def one(tag: int, default: int) -> int:
        return next(iter(numbers.get(tag, ())), default)

    samples = one(_SAMPLES, 1)
    width, height = one(_WIDTH, 0), one(_HEIGHT, 0)
    has_tiles = _TILE_OFFSETS in numbers
    offsets = numbers.get(_TILE_OFFSETS if has_tiles else _STRIP_OFFSETS, ())
    sizes = numbers.get(_TILE_BYTES if has_tiles else _STRIP_BYTES, ())
    rows = min(one(_ROWS_PER_STRIP, height), height)
    directory = TiffDirectory(
        width=width,
        height=height,
        bits=numbers.get(_BITS, (1,) * min(samples, 5)),
        samples=samples,
        formats=numbers.get(_SAMPLE_FORMAT, (1,)),
        extra=numbers.get(_EXTRA_SAMPLES, ()),
        photometric=one(_PHOTOMETRIC, -1),
        compression=one(_COMPRESSION, 1),
        orientation=one(_ORIENTATION, 1),
        is_planar=one(_PLANAR, 1) == 2 and samples > 1,
        predictor=one(_PREDICTOR, 1),
        is_reversed=one(_FILL_ORDER, 1) != 1,
        inks=one(_INK_SET, 1),
        palette=len(numbers.get(_PALETTE, ())),
        tables=(one(_TABLES, 0), numbers.get(_TABLES, (0, 0))[1]),
        has_tiles=has_tiles,
        parts=tuple(zip(offsets, sizes, strict=False)),
        part_shape=(one(_TILE_HEIGHT, 0), one(_TILE_WIDTH, 0)) if has_tiles else (rows, width),
    )
    if len(directory.bits) not in (1, samples) or len(directory.formats) not in (1, samples):
        raise ImageError(_CUT)
    if one(_PLANAR, 1) not in (1, 2):
        raise ImageError(f"this TIFF is damaged in its tag {_PLANAR}; save it again")
    _check_count(directory, len(offsets), len(sizes))
    return directory


def _check_count(directory: TiffDirectory, offsets: int, sizes: int) -> None:
    """See that all strips or tiles are told of, and not larger than the picture.

    Raises:
        ImageError: they are not.
    """
    rows, columns = directory.part_shape
    if min(rows, columns, directory.width, directory.height, directory.samples) < 1:
        raise ImageError("this TIFF has no size in its header; it is damaged")
    down, across = -(-directory.height // rows), -(-directory.width // columns)
    wanted = down * across * (directory.samples if directory.is_planar else 1)
    # A tile may reach beyond a small picture, by its side and not by gigabytes.
    is_huge = rows * columns > 4 * directory.width * directory.height + (1 << 20)
    if not wanted == offsets == sizes or is_huge:
        raise ImageError(_CUT)


def _check_places(directory: TiffDirectory, header: int, size: int) -> None:
    """See that strips or tiles are within the file, each in a place of its own.

    A few bytes could be a thousand of them, or one be another's pixels.

    Raises:
        ImageError: they are not.
    """
    places = [(0, header), *sorted(directory.parts), (size, 1)]
    for (begin, length), (after, _) in itertools.pairwise(places):
        if not length or begin + length > after:
            raise ImageError(_CUT)
