"""TIFF to pixels: Pillow reads 8 bits and grey, OpenCV 16-bit colours; the rest is refused.

Neither reads all that TIFF can be, and both misread some of it without a word. Which of them is
right about a variant was found by comparing both with what had been written.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cameras.decoding.opencv import Samples, samples_from_opencv
from cameras.decoding.orientation import turned
from cameras.decoding.pillow import samples_from_pillow
from cameras.decoding.tiff_directory import TiffDirectory, directory_from_tiff, keep_one_directory
from cameras.decoding.tiff_parts import DEFLATE, JPEG, LZMA, NO_COMPRESSION, check_parts
from cameras.errors import ImageError

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = MappingProxyType(
    {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _INKS: 4, _YCBCR: 3}
)
"""Samples of a pixel without extra ones, by how colours are told."""
_LZW, _PACK_BITS, _ZSTANDARD = 5, 32773, 50000
_OF_BOTH = frozenset({NO_COMPRESSION, _LZW, _PACK_BITS}) | DEFLATE
_OF_PILLOW = _OF_BOTH | {JPEG, LZMA, _ZSTANDARD}
_OF_FAXES = frozenset({2, 3, 4})
_WITH_PREDICTOR = frozenset({_LZW, LZMA, _ZSTANDARD}) | DEFLATE
_MULTIPLIED = 1  # alpha that colours were multiplied by


def samples_from_tiff(data: bytes) -> Samples:
    """Return (H, W, 3) BGR or (H, W) grey of the first picture, turned as its orientation says.

    Raises:
        ImageError: damaged, or a variant that is not read; the message names it.
    """
    directory = directory_from_tiff(data)
    problem = _find_unread(directory) or _find_unread_depth(directory)
    if problem:
        raise ImageError(f"this TIFF has {problem}")
    check_parts(data, directory)
    depth = directory.bits[0]
    if depth == 16 and directory.photometric == _RGB:
        image: Samples = samples_from_opencv(keep_one_directory(data), "TIFF", is_turned=False)
    else:
        is_deep = depth > 8
        image = samples_from_pillow(
            keep_one_directory(data, is_black_zero=is_deep),
            size=(directory.width, directory.height),
            depth=depth,
            is_inverted=is_deep and directory.photometric == _WHITE_IS_ZERO,
        )
    return turned(image, directory.orientation)


def _find_unread(directory: TiffDirectory) -> str:
    """What neither reader reads rightly, and what to do; empty if one of them may."""
    extra = directory.samples - _COLOURS.get(directory.photometric, 0)
    formats = set(directory.formats)
    problems: Mapping[str, bool] = {
        "colours of an unknown kind; save it as RGB": directory.photometric not in _COLOURS,
        "floating-point samples; save it with 8 or 16 bits": directory.has_fractions,
        "signed samples; save it with 8 or 16 unsigned bits": not formats <= {1, 4},
        "samples of different depths; save it with 8 or 16 bits": len(set(directory.bits)) != 1,
        "too few samples for its colours; save it as grey or RGB": extra < 0,
        "more channels than colours and alpha; save it as grey or RGB": extra > 1,
        "bits in reverse order; save it again": directory.is_reversed,
        "inks of its own; save it as RGB": directory.photometric == _INKS and directory.inks != 1,
        "a palette of another size than its samples need; save it as RGB": (
            directory.photometric == _PALETTE and directory.palette != 3 << directory.bits[0]
        ),
        "YCbCr colours without JPEG; save it as RGB": (
            directory.photometric == _YCBCR and directory.compression != JPEG
        ),
        "a fax's compression, in which damage does not show; save it with LZW or deflate": (
            directory.compression in _OF_FAXES
        ),
        f"JPEG of {directory.samples} channels; save it with LZW or deflate": (
            directory.compression == JPEG
            and directory.samples not in (1, 3)
            and not directory.is_planar
        ),
        f"predictor {directory.predictor}; save it without": directory.predictor != 1
        and (directory.predictor != 2 or directory.compression not in _WITH_PREDICTOR),
        f"compression {directory.compression}; save it with LZW or deflate": (
            directory.compression not in _OF_PILLOW
        ),
    }
    return next((problem for problem, holds in problems.items() if holds), "")


def _find_unread_depth(directory: TiffDirectory) -> str:
    """The same for the bits of a sample, which have to be of one number."""
    depth, photometric = directory.bits[0], directory.photometric
    if depth == 16 and photometric == _RGB:
        return _find_unread_deep_colours(directory)
    is_grey = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    is_single = directory.samples == 1 and photometric <= _PALETTE
    instead = "save it with 8 bits, or as 16-bit grey or RGB"
    problems: Mapping[str, bool] = {
        f"{depth}-bit samples; {instead}": depth not in (1, 2, 4, 8, 12, 16),
        f"{depth}-bit colours; {instead}": depth < 8 and not is_single,
        f"{depth}-bit samples of this kind; {instead}": depth > 8 and not is_grey,
        f"{depth}-bit grey with alpha; save it without alpha": depth > 8 and not is_single,
        "compressed 12-bit samples; save it uncompressed, or with 16 bits": (
            depth == 12 and directory.compression != NO_COMPRESSION
        ),
    }
    return next((problem for problem, holds in problems.items() if holds), "")


def _find_unread_deep_colours(directory: TiffDirectory) -> str:
    """The same for RGB with 16 bits a sample."""
    if directory.is_planar:
        return "16-bit colours in separate planes; save it with them interleaved, or as PNG"
    if _MULTIPLIED in directory.extra:
        return "16-bit colours multiplied by their alpha; save it without alpha"
    if directory.compression not in _OF_BOTH:
        return "16-bit colours in this compression; save it with LZW or deflate"
    return ""
