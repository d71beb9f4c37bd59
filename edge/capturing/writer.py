"""Frames become PNG files, without loss and beside the camera's thread."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from cameras.redaction import printable_path
from edge.result import Image
from edge.sinks.losses import LossCounter
from edge.sinks.pictures import png_from_image, write_whole
from edge.sinks.sink import name_from_frame, open_folder

_MOST_THREADS = 4


class PictureWriter(AbstractContextManager["PictureWriter"]):
    """Writes pictures; each gets its name once it is complete.

    Args:
        folder: made if it is not there.
        max_bytes: of frames that may wait to be written.

    Attributes:
        losses: frames that could not be written, or for which there was no room.

    Raises:
        SinkError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.losses = LossCounter(printable_path(folder), "pictures")
        self._folder = open_folder(folder)
        self._room = threading.Condition()
        self._free = self._max_bytes = max_bytes
        self._saved = 0
        self._pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1), "edge-capture")

    @property
    def saved(self) -> int:
        """How many pictures are on the disk."""
        with self._room:
            return self._saved

    def put(self, image: Image, captured_at_ns: int, number: int, *, waits: bool) -> bool:
        """Take a frame's picture, and write it soon.

        Args:
            image: (H, W, 3) uint8 BGR; nobody may change it.
            captured_at_ns: Unix time in ns.
            number: of the frame.
            waits: for room; a camera's next frame would not.

        Returns:
            Whether there was room.
        """
        with self._room:
            size = min(image.nbytes, self._max_bytes)
            if waits:
                self._room.wait_for(lambda: self._free >= size)
            if self._free < size:
                self.losses.add("the disk or the processor is slower than the camera")
                return False
            self._free -= size
        written = self._pool.submit(
            self._write, image, f"{name_from_frame(captured_at_ns, number)}.png"
        )
        written.add_done_callback(lambda done: self._give_back(size, done))
        return True

    def close(self) -> None:
        """Write what waits; a second call does nothing."""
        self._pool.shutdown()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, image: Image, name: str) -> None:
        write_whole(self._folder / name, png_from_image(image))

    def _give_back(self, size: int, done: Future[None]) -> None:
        error = done.exception()
        with self._room:
            self._free += size
            self._saved += error is None
            if isinstance(error, Exception):
                self.losses.add(error)
            else:
                self.losses.end_outage()
            self._room.notify_all()
