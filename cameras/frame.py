"""A frame: what a camera or a file delivers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture from a source, or the reason why there is none.

    Two frames are equal when all of them is, images by their values.

    Attributes:
        source: where it came from, credentials redacted: ``/dev/video0``, ``rtsp://***@line3/cam0``,
            the image's own path for images and folders.
        index: running number within the source, from 0; gaps are frames that were dropped.
        captured_at_ns: Unix time of capture, UTC, in ns (what goes into records).
        monotonic_ns: monotonic time of capture in ns (what decides staleness and latency).
        image: (H, W, 3) uint8 BGR, or None when the frame could not be read.
        reason: why `image` is None; empty otherwise.
    """

    source: str
    index: int
    captured_at_ns: int
    monotonic_ns: int
    image: npt.NDArray[np.uint8] | None
    reason: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return self._key() == other._key() and same_value(self.image, other.image)

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        image = getattr(self.image, "shape", self.image)
        said = f"source={self.source!r}, index={self.index}, image={image}"
        return f"Frame({said}{f', reason={self.reason!r}' if self.reason else ''})"

    def _key(self) -> tuple[str, int, int, int, str]:
        return self.source, self.index, self.captured_at_ns, self.monotonic_ns, self.reason


def same_value(one: object, other: object) -> bool:
    """Whether two values are equal; arrays are by shape and values, and NaN is equal to NaN."""
    if not (isinstance(one, np.ndarray) or isinstance(other, np.ndarray)):
        return bool(one == other)
    return (
        isinstance(one, np.ndarray)
        and isinstance(other, np.ndarray)
        and one.dtype == other.dtype
        and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    )
