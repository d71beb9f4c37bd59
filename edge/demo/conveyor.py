"""The line in motion: an indexing conveyor, and a camera that a light barrier triggers.

Each part comes in from the left, stands still in the fixture, and leaves to the right. A camera
on such a line is triggered: half a part says nothing about the part, and an inspector that has to
learn such pictures as good ones overlooks more defects of parts in place.
So a video holds the frames of parts in place, unless all are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from edge.demo.defects import DEFECTS
from edge.demo.light import Light, Sprite
from edge.demo.scene import (
    Picture,
    camera_size,
    developed,
    exposed,
    lamps,
    part_sprite,
    resized,
)

STORY = (None, None, "scratch", None, "missing_hole", None, "crack", None, "stain", "chip")
"""Defects of the parts, in turn, unless others are asked for."""

FPS = 25

_CYCLE_S = 1.0
_DWELL_S = 0.6  # of each cycle; the belt moves for the rest of it
_PITCH = 1.25  # from part to part, frames
_EXPOSURE_S = 0.001
_JPEG_QUALITY = 98
_LAMPS, _SENSOR, _PARTS = 101, 102, 103  # random streams, apart from those of the stills


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What a frame of the conveyor really shows.

    Attributes:
        frame: index of the frame.
        part: number of the part that is nearest to the centre.
        defect: its defect, or ``good``.
        in_place: whether the belt stands still with the part in the fixture.
        defect_pixels: defective pixels in sight, of whichever part.
    """

    frame: int
    part: int
    defect: str
    in_place: bool
    defect_pixels: int


def draw_conveyor(
    path: Path,
    *,
    seconds: float = 10.0,
    seed: int = 0,
    size: int = 480,
    defects: Sequence[str | None] | None = None,
    triggered: bool = True,
) -> tuple[FrameTruth, ...]:
    """Write a video of the conveyor and return what each of its frames shows.

    MPEG-4 blurs fine texture and so raises the scores of good parts; Motion JPEG does so far less,
    and is what to inspect. Neither is as true as the frames of `conveyor_frames` themselves.

    Args:
        path: the video, ``.avi`` for Motion JPEG or ``.mp4`` for MPEG-4; its folder must exist.
        seconds: how long the line runs; one part a second, 25 frames a second.
        seed: decides everything that is left to chance.
        size: height and width in pixels.
        defects: defect of each part in turn, None for a sound one, repeated; default `STORY`.
        triggered: only the frames of parts in place, which are what an inspector is to judge.

    Raises:
        OSError: the video cannot be written.
        ValueError: a length, size, defect or kind of video that cannot be drawn.
    """
    frames = conveyor_frames(seconds=seconds, seed=seed, size=size, defects=defects)
    writer = _video_writer(path, size=size)
    truths: list[FrameTruth] = []
    try:
        for picture, truth in frames:
            if truth.in_place or not triggered:
                writer.write(picture)
                truths.append(replace(truth, frame=len(truths)))
    finally:
        writer.release()
    return tuple(truths)


def conveyor_frames(
    *,
    seconds: float = 10.0,
    seed: int = 0,
    size: int = 480,
    defects: Sequence[str | None] | None = None,
) -> Iterator[tuple[Picture, FrameTruth]]:
    """Draw all frames of the conveyor, in motion too, as they are asked for.

    Arguments and errors as for `draw_conveyor`, without a file; `FrameTruth.in_place` is the
    signal of the light barrier.

    Yields:
        (size, size, 3) uint8 BGR and what it shows.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"{seconds} s of conveyor; give a time above 0")
    story = tuple(STORY if defects is None else defects) or (None,)
    unknown = [name for name in story if name is not None and name not in DEFECTS]
    if unknown:
        raise ValueError(f"no defect named {unknown[0]!r}; one of {', '.join(DEFECTS)}")
    line = _Line(seed, size=camera_size(size), story=story)
    return _frames(line, round(seconds * FPS), size=size)


def _video_writer(path: Path, *, size: int) -> cv2.VideoWriter:
    """Open a video file; the caller releases it."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise OSError(f"{path!r}: OpenCV writes only to names in UTF-8; choose another") from error
    kinds = {".avi": (cv2.CAP_OPENCV_MJPEG, "MJPG"), ".mp4": (cv2.CAP_ANY, "mp4v")}
    if path.suffix.lower() not in kinds:
        raise ValueError(f"{path}: videos are drawn as .mp4 or .avi; choose one of these")
    backend, coding = kinds[path.suffix.lower()]
    code = cv2.VideoWriter.fourcc(*coding)
    writer = cv2.VideoWriter(str(path), backend, code, float(FPS), (size, size))
    if not writer.isOpened():
        writer.release()
        raise OSError(f"{path}: cannot write this video; check the folder and its permissions")
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, _JPEG_QUALITY)  # has no effect on MPEG-4
    return writer


class _Line:
    """The parts on the belt, made as they come into sight and dropped as they leave."""

    def __init__(self, seed: int, *, size: int, story: Sequence[str | None]) -> None:
        self.size = size
        self.light: Light = lamps(np.random.default_rng([seed, _LAMPS]))
        self.noise = np.random.default_rng([seed, _SENSOR])
        self._seed = seed
        self._story = story
        self._sprites: dict[int, Sprite] = {}

    def defect(self, number: int) -> str | None:
        return self._story[number % len(self._story)] if number >= 0 else None

    def in_sight(self, position: float) -> list[tuple[Sprite, int]]:
        """Sprites and their shifts in pixels."""
        seen = _in_sight(position, self.size)
        self._sprites = {number: self._sprite(number) for number, _ in seen}
        return [(self._sprites[number], shift) for number, shift in seen]

    def _sprite(self, number: int) -> Sprite:
        if number in self._sprites:
            return self._sprites[number]
        rng = np.random.default_rng([self._seed, _PARTS, number + 1])
        return part_sprite(rng, size=self.size, light=self.light, defect=self.defect(number))


def _frames(line: _Line, count: int, *, size: int) -> Iterator[tuple[Picture, FrameTruth]]:
    standing: float | None = None
    for index in range(count):
        position, speed = _motion(index / FPS)
        if speed or position != standing:  # else the last exposure serves again
            toned, mask = exposed(
                line.in_sight(position),
                belt=-position * _PITCH,
                light=line.light,
                smear=speed * line.size * _EXPOSURE_S,
            )
            standing = None if speed else position
        picture, small = resized(developed(toned, rng=line.noise), mask, size=size)
        part = round(position)
        yield (
            picture,
            FrameTruth(
                frame=index,
                part=part,
                defect=line.defect(part) or "good",
                in_place=not speed,
                defect_pixels=int(np.count_nonzero(small)),
            ),
        )


def _motion(time: float) -> tuple[float, float]:
    """Position in parts, and speed in frames a second; the belt starts and stops smoothly."""
    number, phase = divmod(time, _CYCLE_S)
    share = (phase - _DWELL_S) / (_CYCLE_S - _DWELL_S)
    if share <= 1e-9:
        return number, 0.0
    speed = 6 * share * (1 - share) * _PITCH / (_CYCLE_S - _DWELL_S)
    return number + share * share * (3 - 2 * share), speed


def _in_sight(position: float, size: int) -> list[tuple[int, int]]:
    """Numbers of the parts in sight and how many pixels each is right of the centre."""
    near = range(int(position) - 1, int(position) + 3)
    shifts = [(number, round((position - number) * _PITCH * size)) for number in near]
    return [(number, shift) for number, shift in shifts if abs(shift) < size]
