"""A video of the drawn results: one file, or a folder of segments that never ends."""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np

from cameras.redaction import printable_path
from edge.result import Image, Result
from edge.sinks.disk_quota import DiskLimits, DiskQuota
from edge.sinks.locks import PlaceLock
from edge.sinks.losses import LossCounter
from edge.sinks.sink import Paint, Painter, SinkError, name_from_result
from process.plain_files import check_plain

SEGMENT_S = 600.0
_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_CLOSE_S = 1.0
_LOOK_EVERY = 25  # frames between two looks at the free space
_FIRST_BYTES = 32 << 20  # of a segment whose size nobody knows yet


class VideoSink(AbstractContextManager["VideoSink"]):
    """A video, or ten-minute segments in a folder where the name has no suffix.

    Pictures of another size than a video's first are scaled to it; an ERROR without image before
    the first picture is left out. A video gets its name when it is complete; until then it is
    ``NAME.part.SUFFIX``. A program that is killed leaves that file: ``.avi`` and ``.mkv`` play up
    to there, ``.mp4`` does not.

    Segments are ``FOLDER/DAY/TIME_FRAME_VIDEO.mp4``; the oldest make room. The encoder does not
    tell of a full disk, so the space is asked: a segment ends before it runs out, and what comes is
    dropped until there is room again.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov``, ``.mkv`` (MPEG-4) or ``.avi`` (Motion JPEG); a folder.
        rate_hz: frames per second at which it plays.
        paint: draws; share one between sinks so that each result is drawn once.
        limits: of a folder.

    Raises:
        SinkError: another suffix, a folder that cannot be written, or no such encoder here.
    """

    lossless = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rate_hz: float = 25.0,
        paint: Paint | None = None,
        limits: DiskLimits | None = None,
    ) -> None:
        self.losses = LossCounter(printable_path(path), "video frames")
        self._path = path = Path(path)
        self._rate_hz = rate_hz
        self._paint = paint or Painter()
        self._video: _VideoFile | None = None
        self._busy = threading.Lock()  # closed by another thread than the one that writes
        limits = limits or DiskLimits()
        self._quota = None if self._path.suffix else DiskQuota(path, limits)
        self._lock = _lock_of(self._path) if self._quota is None else None
        self._room = min(_FIRST_BYTES, limits.max_bytes // 4)
        self._ends_s = 0.0
        try:
            _check_encoder(path if self._quota is None else path / "encoder.mp4", rate_hz)
        except SinkError:
            self._let_go()
            raise

    def write(self, result: Result) -> None:
        """Draw and append one frame."""
        if self._video is None and result.image is None:
            return
        with self._busy:
            try:
                self._end_if_due()
                picture = self._paint(result)
                self._video = self._video or self._begin(result, picture)
                self._video.write(picture)
            except (cv2.error, OSError) as error:
                self.losses.add(error)
            else:
                self.losses.end_outage()

    def close(self) -> None:
        """Complete the video and give it its name; a second call does nothing."""
        if not self._busy.acquire(timeout=_CLOSE_S):
            self.losses.add("the disk hangs")  # and the thread that writes with it
            return
        try:
            self._end()
            self._let_go()
        finally:
            self._busy.release()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _let_go(self) -> None:
        """Let another program have the place."""
        for lock in (self._quota, self._lock):
            if lock is not None:
                lock.close()

    def _begin(self, result: Result, picture: Image) -> _VideoFile:
        path = self._path
        if self._quota is not None:
            self._quota.make_room(self._room)
            when, frame, *_ = name_from_result(result).split("_")
            path = self._quota.path_for(f"{when}_{frame}_VIDEO.mp4")
            self._ends_s = time.monotonic() + SEGMENT_S
        return _VideoFile(path, rate_hz=self._rate_hz, size=(picture.shape[1], picture.shape[0]))

    def _end_if_due(self) -> None:
        """End a video that was removed, a segment that is old enough or has no room.

        Raises:
            OSError: there is no room.
        """
        video = self._video
        if video is None:
            return
        look = video.frames % _LOOK_EVERY == 0
        if look and video.was_removed():
            self._end()
        elif self._quota is None:
            return
        elif time.monotonic() >= self._ends_s:
            self._end()
        elif look:
            try:
                self._quota.make_room(0)
            except OSError:
                self._end()
                raise

    def _end(self) -> None:
        video, self._video = self._video, None
        if video is None:
            return
        try:
            video.complete()
            if self._quota is not None:
                self._room = max(self._room // 2, self._quota.add(video.path))
        except OSError as error:
            self.losses.add(error, max(1, video.frames - video.frames_on_disk()))


class _VideoFile:
    """One video that is being written.

    Args:
        path: its name when it is complete.
        rate_hz: at which it plays.
        size: (width, height) of its first picture.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, rate_hz: float, size: tuple[int, int]) -> None:
        width, height = size
        self.path = path
        self.frames = 0
        self._part = _part_of(path)
        self._size = (max(2, width & ~1), max(2, height & ~1))  # MPEG-4 wants even sides
        self._writer = _open_writer(self._part, rate_hz, self._size)

    def write(self, picture: Image) -> None:
        """Append a picture of any size."""
        if (picture.shape[1], picture.shape[0]) != self._size:
            scaled = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
            picture = np.asarray(scaled, np.uint8)
        self._writer.write(picture)
        self.frames += 1

    def complete(self) -> None:
        """Give it its name.

        Raises:
            OSError: it is incomplete, or cannot be renamed.
        """
        self._writer.release()
        # The encoder does not tell of a full disk: what it left is asked instead.
        if self.frames_on_disk() < 0.9 * self.frames:
            raise OSError(f"incomplete, kept as {printable_path(self._part)}; is the disk full?")
        try:
            self._part.replace(self.path)
        except OSError as error:
            raise OSError(f"kept as {printable_path(self._part)}: {error.strerror}") from error

    def was_removed(self) -> bool:
        """Whether somebody removed what was written so far, or its folder."""
        return not self._part.exists()

    def frames_on_disk(self) -> int:
        """How many can be read back, once it is complete, under the name that it was written."""
        capture = cv2.VideoCapture()
        try:
            opened = capture.open(_file_name(self._part), cv2.CAP_FFMPEG)
            return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if opened else 0
        finally:
            capture.release()


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.part{path.suffix}")


def _lock_of(path: Path) -> PlaceLock:
    """What keeps another program from writing the same video.

    Raises:
        SinkError: another one does, or the folder cannot be written.
    """
    try:
        return PlaceLock(path)
    except OSError as error:
        raise SinkError(f"{printable_path(path)}: {error.strerror}") from error


def _check_encoder(path: Path, rate_hz: float) -> None:
    """Write nothing, so that a wrong path or a missing encoder is known before the start.

    Raises:
        SinkError: no video can be written there.
    """
    if path.suffix.lower() not in _CODECS:
        raise SinkError(f"{printable_path(path)}: unknown kind of video; use {', '.join(_CODECS)}")
    part = _part_of(path)
    try:
        part.touch()
        check_plain(part.lstat(), part)  # a link would have another's file written over
        try:
            _open_writer(part, rate_hz, (64, 64)).release()
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SinkError(f"{printable_path(path)}: {error.strerror or error}") from error


def _open_writer(part: Path, rate_hz: float, size: tuple[int, int]) -> cv2.VideoWriter:
    codec = _CODECS[part.suffix.lower()]
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(_file_name(part), cv2.CAP_FFMPEG, fourcc, rate_hz, size)
    if not writer.isOpened():
        raise OSError(f"this OpenCV cannot encode {codec}; record another kind of video")
    return writer


def _file_name(path: Path) -> str:
    # As bytes: a name that is not UTF-8 crashes OpenCV when it is passed as text.
    name: str = os.fsencode(path.absolute())  # type: ignore[assignment]
    return name
