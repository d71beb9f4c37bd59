"""A folder of drawn results."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from pathlib import Path

import cv2

from cameras.redaction import printable_path
from edge.result import Image, Result, Verdict
from edge.sinks.losses import LossCounter
from edge.sinks.sink import Paint, Painter, name_from_result, open_folder

_FILTER = getattr(cv2, "IMWRITE_PNG_FILTER", None)  # from OpenCV 4.12 on
_NO_FILTER = () if _FILTER is None else (_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)


class PicturesSink(AbstractContextManager["PicturesSink"]):
    """Drawn results as JPEG, named by time of capture, frame and verdict.

    Args:
        folder: made when it does not exist.
        only_ng: keep NG alone.
        paint: draws; share one between sinks so that each result is drawn once.

    Raises:
        SinkError: the folder cannot be made or written.
    """

    lossless = False

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        only_ng: bool = False,
        paint: Paint | None = None,
    ) -> None:
        self.losses = LossCounter(printable_path(folder), "pictures")
        self._folder = open_folder(folder)
        self._only_ng = only_ng
        self._paint = paint or Painter()

    def write(self, result: Result) -> None:
        """Draw and write one picture, or none if it is not to be kept."""
        if self._only_ng and result.verdict is not Verdict.NG:
            return
        try:
            path = self._folder / f"{name_from_result(result)}.jpg"
            write_whole(path, jpeg_from_image(self._paint(result)))
        except (cv2.error, OSError) as error:
            self.losses.add(error)
        else:
            self.losses.end_outage()

    def __exit__(self, *_: object) -> None:
        """Do nothing: every picture is complete as soon as it is written."""


def jpeg_from_image(image: Image, *, quality: int = 95) -> bytes:
    """Encode a picture.

    Raises:
        OSError: OpenCV cannot.
    """
    return _encoded(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))


def png_from_image(image: Image) -> bytes:
    """Encode a picture without loss, in the way that is quickest and small where there is noise.

    Of a camera's picture, 1920x1080, the entropy coder alone takes .44 of the time of the common
    way and .77 of its size: matches are rare, and prediction makes noise larger.

    Raises:
        OSError: OpenCV cannot.
    """
    way = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
    return _encoded(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1, *way, *_NO_FILTER))


def _encoded(suffix: str, image: Image, options: tuple[int, ...]) -> bytes:
    good, data = cv2.imencode(suffix, image, options)
    if not good:
        raise OSError("OpenCV could not encode a picture")
    return data.tobytes()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that gets its name only once it is complete.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
