"""Frames become PNG files, without loss and beside the camera's thread."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from cameras.redaction import printable_path
from edge.capturing.folder import PictureFolder
from edge.result import Image
from edge.sinks.losses import LossCounter
from edge.sinks.pictures import png_from_image, write_whole
from edge.sinks.sink import name_from_frame

_MOST_THREADS = 4
_TOO_SLOW = (
    "the disk or the processor is slower than the camera: --nth or --every takes fewer frames"
)


class PictureWriter(AbstractContextManager["PictureWriter"]):
    """Writes pictures; each gets its name once it is complete, and replaces none.

    Args:
        folder: where they go.
        max_bytes: of frames that may wait to be written.

    Attributes:
        losses: frames that could not be written, or for which there was no room.
    """

    def __init__(self, folder: PictureFolder, *, max_bytes: int) -> None:
        self.losses = LossCounter(printable_path(folder.path), "pictures")
        self._folder = folder
        self._room = threading.Condition()
        self._free = self._max_bytes = max_bytes
        self._saved = 0
        self._on_their_way: set[Path] = set()
        self._pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1), "edge-capture")

    @property
    def saved(self) -> int:
        """How many pictures are on the disk."""
        with self._room:
            return self._saved

    def has(self, count: int) -> bool:
        """Whether so many are on the disk, once those on their way there have come or are lost."""
        with self._room:
            if self._saved + len(self._on_their_way) >= count:
                self._room.wait_for(lambda: not self._on_their_way)
            return self._saved >= count

    def put(
        self, image: Image, captured_at_ns: int, number: int, *, waits: bool
    ) -> Future[str] | None:
        """Take a frame's picture, and write it soon.

        Args:
            image: (H, W, 3) uint8 BGR; nobody may change it.
            captured_at_ns: Unix time in ns.
            number: of the frame.
            waits: for room; a camera's next frame would not.

        Returns:
            Of the picture's file name, once it is on the disk; None: there was no room.
        """
        with self._room:
            size = min(image.nbytes, self._max_bytes)
            if waits:
                self._room.wait_for(lambda: self._free >= size)
            if self._free < size:
                self.losses.add(_TOO_SLOW)
                return None
            self._free -= size
            name = name_from_frame(captured_at_ns, number)
            place = self._folder.free_place(name, self._on_their_way)
            self._on_their_way.add(place)
        written = self._pool.submit(self._write, image, place)
        written.add_done_callback(lambda done: self._give_back(size, place, done))
        return written

    def close(self) -> None:
        """Write what waits; a second call does nothing."""
        self._pool.shutdown()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, image: Image, place: Path) -> str:
        write_whole(place, png_from_image(image))
        return place.name

    def _give_back(self, size: int, place: Path, done: Future[str]) -> None:
        error = done.exception()
        with self._room:
            self._free += size
            self._on_their_way.discard(place)
            self._saved += error is None
            if isinstance(error, Exception):
                self.losses.add(error)
            elif not self._on_their_way:  # else it ends and begins with each picture
                self.losses.end_outage()
            self._room.notify_all()
