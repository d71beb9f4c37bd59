"""A frame: what a camera or a file delivers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source, or the reason why there is none.

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
