"""The line: a part a second under a camera that a light barrier triggers.

Half a part says nothing about the part, and an inspector that has to learn such pictures as good
ones overlooks more defects of parts in place. So there is no frame of the belt in motion.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.demo.flange import SIZE
from edge.demo.scene import develop, expose, make_part, set_lamps

STORY = (None, None, "scratch", None, "missing_hole", None, "crack", None, "stain", "chip")
"""Defects of the parts, in turn."""

FPS = 25

_STILLS = 16  # frames of a part in place; for the rest of the second the belt moves
_PITCH = 1.25  # from part to part, frames
_JPEG_QUALITY = 98
_LAMPS, _SENSOR, _PARTS = 101, 102, 103  # random streams, apart from those of the stills


def draw_conveyor(path: Path, *, parts: int = 10, seed: int = 0) -> tuple[str | None, ...]:
    """Write a video of parts in place, as Motion JPEG: MPEG-4 blurs what tells good from bad.

    Args:
        path: the video, ``.avi``; its folder must exist.
        parts: how many come by.
        seed: decides everything that is left to chance.

    Returns:
        The defect that each frame shows; None of a sound part.

    Raises:
        OSError: the video cannot be written.
    """
    light = set_lamps(np.random.default_rng([seed, _LAMPS]))
    noise = np.random.default_rng([seed, _SENSOR])
    truths: list[str | None] = []
    code = cv2.VideoWriter.fourcc(*"MJPG")
    # As bytes: a name that is not UTF-8 crashes OpenCV when it is passed as text.
    name: Any = os.fsencode(path)
    writer = cv2.VideoWriter(name, cv2.CAP_OPENCV_MJPEG, code, float(FPS), (SIZE, SIZE))
    try:
        if not writer.isOpened():
            raise OSError(f"{path}: cannot write this video; check the folder and its permissions")
        writer.set(cv2.VIDEOWRITER_PROP_QUALITY, _JPEG_QUALITY)
        for number in range(parts):
            defect = STORY[number % len(STORY)]
            rng = np.random.default_rng([seed, _PARTS, number + 1])
            part = make_part(rng, defect=defect)
            exposure = expose(part, belt=-number * _PITCH, light=light)
            for _ in range(_STILLS):
                writer.write(develop(exposure, noise))
            truths += [defect] * _STILLS
            noise.integers(SIZE, size=(FPS - _STILLS, 2))  # the sensor runs while the belt moves
    finally:
        writer.release()
    return tuple(truths)
