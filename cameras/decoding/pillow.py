"""Pixels of TIFF and WebP through Pillow, which tells of damage that OpenCV passes over."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cameras.decoding.opencv import Samples
from cameras.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

_SLAB = 1 << 20  # px that are converted at once: no second picture in memory
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError)


def samples_from_pillow(
    data: bytes, *, size: tuple[int, int], depth: int, is_inverted: bool
) -> Samples:
    """Return (H, W, 3) uint8 BGR as it is stored, alpha dropped; or (H, W) of deep grey.

    16 bits stay what they are, 12 are scaled by their range to 8.

    Args:
        data: a TIFF with one directory.
        size: (width, height) in px, as it says.
        depth: bits of a sample.
        is_inverted: whether white is 0 in grey of more than 8 bits, which the TIFF itself does
            not say.

    Raises:
        ImageError: damaged, or Pillow does not read it.
    """
    from PIL import TiffImagePlugin

    with _telling("TIFF"), TiffImagePlugin.TiffImageFile(io.BytesIO(data)) as picture:
        if picture.size != size:
            raise ImageError("this TIFF has two sizes in its header; save it again")
        picture.load()
        return _grey(picture, depth, is_inverted) if depth > 8 else _colours(picture)


def samples_from_webp(data: bytes) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) uint8 BGR of the first picture as it is stored, alpha dropped.

    Raises:
        ImageError: damaged.
    """
    from PIL import WebPImagePlugin

    with _telling("WebP"), WebPImagePlugin.WebPImageFile(io.BytesIO(data)) as picture:
        picture.load()
        return _colours(picture)


@contextmanager
def _telling(kind: str) -> Iterator[None]:
    """Tell what Pillow stumbles over in a picture of this kind as an `ImageError`."""
    try:
        yield
    except ImageError:  # a ValueError, too
        raise
    except (*_ERRORS, struct.error, Warning) as error:
        reason = " ".join(str(error).split())
        raise ImageError(
            f"this {kind} is damaged or cut short ({reason}); copy it again"
        ) from error


def _grey(picture: Image, depth: int, is_inverted: bool) -> Samples:
    grey = np.asarray(picture)
    if grey.ndim != 2 or grey.dtype.kind != "u":
        raise ImageError(f"this TIFF decodes to {grey.dtype} samples; save it with 8 bits")
    deep = grey.astype(np.uint16)  # in this machine's order of bytes
    most = (1 << depth) - 1
    if is_inverted:
        np.subtract(most, deep, out=deep)
    return (
        deep
        if depth == 16
        else ((deep.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)
    )


def _colours(picture: Image) -> npt.NDArray[np.uint8]:
    width, height = picture.size
    image = np.empty((height, width, 3), np.uint8)
    step = max(1, _SLAB // width)
    for top in range(0, height, step):
        slab = picture.crop((0, top, width, min(top + step, height)))
        # RGB has no alpha; the colours stay as they are.
        image[top : top + step] = np.asarray(slab.convert("RGB"))[..., ::-1]
    return image
