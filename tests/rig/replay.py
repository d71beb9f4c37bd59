"""A source of images that a test has in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from cameras.frame import Frame
from cameras.source import frame_now


class Replay:
    """A source of images that are already in memory, in order, each once.

    Args:
        images: (H, W, 3) uint8 BGR each; read lazily, so that it may be endless.
        name: what records and messages call it.
        rate_hz: what the frames are said to come at; nothing is slowed down to it.
    """

    live = False
    dropped = 0

    def __init__(
        self,
        images: Iterable[npt.NDArray[np.uint8]],
        *,
        name: str = "memory",
        rate_hz: float | None = None,
    ) -> None:
        self.name = name
        self.rate_hz = rate_hz
        self._images = images
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            if self._closed:
                return
            yield frame_now(self.name, index, image)

    def close(self) -> None:
        """End the iteration; a second call does nothing."""
        self._closed = True

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
