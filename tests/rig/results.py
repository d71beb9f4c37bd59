"""Results without an engine, and a disk that is full."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

import cv2
import numpy as np

from edge.result import Result, Verdict

START_NS = 1_769_853_300_123_000_000
SOFT = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (64, 48))
"""A picture that JPEG keeps."""


def result_of(
    number: int,
    verdict: Verdict = Verdict.OK,
    *,
    source: str = "parts/part 7.png",
    reason: str = "",
    image: np.ndarray | None = SOFT,
) -> Result:
    """The result of a camera's frame at 25 Hz; one with a reason has no image."""
    return Result(
        source=source,
        frame=number,
        captured_at_ns=START_NS + number * 40_000_000,
        verdict=verdict,
        score=None if verdict is Verdict.ERROR else 0.25,
        threshold=0.5,
        reason=reason,
        image=None if reason else image,
    )


def noise(number: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A picture of (H, W) that no encoder makes small."""
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full after `size` bytes of each file, as far as this process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
