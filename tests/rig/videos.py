"""What is in a video."""

from __future__ import annotations

from pathlib import Path

import cv2


def frames_in(path: Path) -> int:
    """How many frames of a video can be read."""
    capture, count = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count
