"""A video of the drawn results that never ends: in pieces, in a folder with a quota."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2

from cameras.closing import Closing
from cameras.redaction import shown
from edge.result import Result
from edge.sinks.disk_quota import LEAST_FREE_BYTES, MOST_BYTES, Quota
from edge.sinks.files import Paint, SinkError, VideoSink, name_from_result
from edge.sinks.losses import Losing, Losses

SEGMENT_S = 600.0
_LOOK_EVERY = 25  # frames between two looks at the free space
_FIRST_BYTES = 32 << 20  # of a segment whose size nobody knows yet


class SegmentsSink(Losing, Closing):
    """``FOLDER/DAY/TIME_FRAME_VIDEO.mp4``, ten minutes each; the oldest make room.

    The encoder does not tell of a full disk, so the space is asked: a segment ends before it runs
    out, and what comes is counted as lost until there is room again.

    Args:
        folder: made if it is not there.
        rate_hz: frames per second at which they play.
        paint: draws; share one between sinks so that each result is drawn once.
        most_bytes: of all segments.
        least_free_bytes: that stay free on the disk.

    Raises:
        SinkError: the folder cannot be made or written.
    """

    lossless = False
    missed = 0

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        rate_hz: float,
        paint: Paint,
        most_bytes: int = MOST_BYTES,
        least_free_bytes: int = LEAST_FREE_BYTES,
    ) -> None:
        self._losses = Losses(shown(folder), "video frames")
        home = Path(folder)
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._quota = Quota(home, most_bytes=most_bytes, least_free_bytes=least_free_bytes)
        except OSError as error:
            raise SinkError(f"{shown(folder)}: {error.strerror}; name another folder") from error
        if not os.access(home, os.W_OK):
            raise SinkError(f"{shown(folder)}: not writable; name another folder")
        self._rate_hz = rate_hz
        self._paint = paint
        self._room = min(_FIRST_BYTES, most_bytes // 4)
        self._video: VideoSink | None = None
        self._path = Path()
        self._ends_s = 0.0
        self._frames = 0

    def write(self, result: Result) -> None:
        """Draw and append one frame."""
        if self._video is None and result.image is None:
            return
        try:
            self._look()
            if self._video is None:
                self._begin(result)
            if self._video is not None:
                self._video.write(result)
                self._frames += 1
        except (cv2.error, OSError, SinkError) as error:
            self._losses.add(getattr(error, "strerror", None) or str(error).splitlines()[0])
        else:
            self._losses.recovered()

    def close(self) -> None:
        """Complete the segment; a second call does nothing."""
        try:
            self._end()
        except OSError as error:
            self._losses.add(error.strerror or str(error))

    def _look(self) -> None:
        """End a segment that is old enough, or for which the disk has no room."""
        if self._video is None:
            return
        if time.monotonic() >= self._ends_s:
            self._end()
        elif self._frames % _LOOK_EVERY == 0:
            try:
                self._quota.make_room(0)
            except OSError:
                self._end()
                raise

    def _begin(self, result: Result) -> None:
        self._quota.make_room(self._room)
        when, frame, *_ = name_from_result(result).split("_")
        self._path = self._quota.path_for(f"{when}_{frame}_VIDEO.mp4")
        self._video = VideoSink(self._path, rate_hz=self._rate_hz, paint=self._paint)
        self._ends_s = time.monotonic() + SEGMENT_S
        self._frames = 0

    def _end(self) -> None:
        video, self._video = self._video, None
        if video is None:
            return
        video.close()
        if video.lost:
            self._losses.add(video.trouble, video.lost)
        if self._path.exists():
            self._quota.add(self._path)
            self._room = max(self._room // 2, self._path.stat().st_size)
