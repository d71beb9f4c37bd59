"""Video files, through OpenCV's FFmpeg: every frame is delivered, the source waits."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from cameras.errors import SourceError
from cameras.files.read_ahead import ReadAhead
from cameras.frame import Frame
from cameras.redaction import printable_path
from cameras.source import Source, frame_now


def open_video(path: Path) -> Source:
    """Open a video file.

    Raises:
        SourceError: unreadable, or not a video that OpenCV's FFmpeg decodes.
    """
    name = printable_path(path)
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise SourceError(f"{name}: the file is empty; copy it again")
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}; check path and permissions") from error
    capture = cv2.VideoCapture()
    # As bytes: a name that is not UTF-8 crashes OpenCV when it is passed as text. Absolute: a
    # relative name could be taken for an address.
    opened = capture.open(os.fsencode(path.absolute()), cv2.CAP_FFMPEG)  # type: ignore[call-overload]
    if not opened:
        capture.release()
        raise SourceError(f"{name}: neither an image nor a video that can be decoded; convert it")
    announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    return ReadAhead(
        name,
        _read_video(name, capture, announced),
        rate_hz=rate_hz if np.isfinite(rate_hz) and rate_hz > 0 else None,
    )


def _read_video(
    name: str, capture: cv2.VideoCapture, announced: int
) -> Generator[Frame, None, None]:
    index = 0
    try:
        while True:
            good, image = capture.read()
            if not good:
                break
            yield frame_now(name, index, np.asarray(image, np.uint8))
            index += 1
    finally:
        capture.release()
    # Containers estimate their length; only a clear lack means that frames are gone.
    if announced > 0 and index < 0.95 * announced - 5:
        reason = f"{name}: ended after {index} of {announced} frames; the file is damaged"
        yield frame_now(name, index, None, reason)
