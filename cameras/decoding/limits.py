"""How much one picture, and all that are decoded at once, may take; needs no OpenCV."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from cameras.errors import ImageError
from process.forks import in_children

MAX_PIXELS = 100_000_000
MAX_SIDE = 1 << 20  # px
BYTES_PER_PIXEL: Mapping[str, int] = MappingProxyType({"WebP": 20})
"""Memory that decoding takes at most, measured, of kinds that take more than others."""
MOST_BYTES_PER_PIXEL = 13  # of all others: 16-bit colours take 12.3
MAX_DECODING_BYTES = MAX_PIXELS * MOST_BYTES_PER_PIXEL
"""Of all that are decoded at once: one of the largest, or many small ones."""
_COPIES = 2  # of the file itself, whatever its pixels are worth


class DecodingBudget:
    """Memory that pictures share while they are decoded; who finds too little of it waits.

    They are served in the order in which they come, so that a large one is not kept out by small
    ones. One that is larger than all of it is decoded alone.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked process: who was decoding at the fork is not there."""
        self._free = self._limit
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, kind: str, pixels: int, *, file_bytes: int) -> Iterator[int]:
        """Hold the bytes that a picture needs: of this kind and size, in a file of that size."""
        needed = min(pixels * bytes_per_pixel(kind) + _COPIES * file_bytes, self._limit)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= needed)
            self._free -= needed
        try:
            yield needed
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()


DECODING = DecodingBudget(MAX_DECODING_BYTES)
"""Of this process: every receiver, folder and thread of a build decodes under it."""
in_children(DECODING.renew)


def limit_opencv() -> None:
    """Give OpenCV the same limits; it reads them once, when it is loaded.

    Values that the user or the embedding program has set stay.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_WIDTH", str(MAX_SIDE))
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_HEIGHT", str(MAX_SIDE))


def check_size(kind: str, width: int, height: int) -> None:
    """Refuse a picture that is too large, or has no size, before it is decoded.

    Args:
        kind: such as ``PNG``.
        width: in px.
        height: in px.

    Raises:
        ImageError: it is.
    """
    if width < 1 or height < 1:
        raise ImageError(f"this {kind} has no size in its header; it is damaged")
    most = min(MAX_PIXELS, MAX_DECODING_BYTES // bytes_per_pixel(kind))
    if width * height > most or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"{width} x {height} pixels; more than {most // 1_000_000} megapixels are "
            f"not read of a {kind}, scale it down"
        )


def bytes_per_pixel(kind: str) -> int:
    """Memory that a pixel takes at most while pictures of a kind are decoded."""
    return BYTES_PER_PIXEL.get(kind, MOST_BYTES_PER_PIXEL)
