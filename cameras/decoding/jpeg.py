"""JPEG through libjpeg-turbo, which warns of what it made up; OpenCV keeps that to itself."""

from __future__ import annotations

import re

import numpy as np
import simplejpeg

from cameras.decoding.opencv import Samples
from cameras.errors import ImageError

# Some cameras fill up their data before the end marker. Many bytes there are data that were left
# over, since damage before them made the picture end early.
_FILLING = re.compile(r"Corrupt JPEG data: [1-8] extraneous bytes before marker 0xd9")
_CUT = re.compile(r"premature end")
_MAX_SCANS = 100  # progressive ones have ten; each is a walk over all the picture


def samples_from_jpeg(data: bytes) -> Samples:
    """Return (H, W, 3) BGR of a JPEG that is whole, as stored; the same pixels as by OpenCV.

    Raises:
        ImageError: it is cut short, damaged as far as that shows, or of a kind that is not read.
    """
    _refuse_cut_jpeg(data)
    try:
        return _decode(data, is_strict=True)
    except ValueError as error:
        if _FILLING.search(str(error)):  # the first warning, and nothing is read after that place
            return _decode(data, is_strict=False)
        if _CUT.search(str(error)):
            raise ImageError("this JPEG is cut short; copy it again") from error
        what = str(error).partition(":")[2].strip() or str(error)
        raise ImageError(f"this JPEG is damaged ({what}); copy it again") from error


def _refuse_cut_jpeg(data: bytes) -> None:
    """Refuse a JPEG without its end marker, of which some decoders fill the rest with grey.

    Inside compressed data every 0xFF is followed by 0, so that after the last start of a scan the
    marker stands for the end alone; cameras may append bytes after it.

    Raises:
        ImageError: the end marker is missing, or there are far too many scans.
    """
    scan = data.rfind(b"\xff\xda")
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise ImageError(f"this JPEG has more than {_MAX_SCANS} scans; save it again")
    if scan < 0 or data.find(b"\xff\xd9", scan) < 0:
        raise ImageError("this JPEG is cut short; copy it again")


def _decode(data: bytes, *, is_strict: bool) -> Samples:
    return np.asarray(simplejpeg.decode_jpeg(data, "BGR", strict=is_strict), np.uint8)
