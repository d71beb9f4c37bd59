"""What a person wants to see later: each NG and ERROR part, as a picture and as a clip."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cameras.closing import Closing
from cameras.redaction import shown
from edge.drawing.overlay import draw
from edge.result import Result, Verdict
from edge.sinks.disk_quota import LEAST_FREE_BYTES, MIB, MOST_BYTES, Quota
from edge.sinks.files import SinkError, VideoSink, name_from_result
from edge.sinks.lasting import Lasting
from edge.sinks.losses import Losing, Losses

_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 95)
_LONGEST_CLIP_S = 60.0
_RING_BYTES = 64 * MIB
_AT_ONCE = 3
_RATES_HZ = (1.0, 120.0)
_CLIP_BYTES = 16 * MIB
"""Room that is made for a clip before its size is known."""


@dataclass(frozen=True, slots=True)
class KeepOptions:
    """What is kept.

    Attributes:
        most_bytes: of all that is kept; the oldest make room.
        least_free_bytes: that stay free on the disk.
        clip_s: seconds before and after each part that a clip shows; 0 = no clips.
    """

    most_bytes: int = MOST_BYTES
    least_free_bytes: int = LEAST_FREE_BYTES
    clip_s: float = 0.0


class KeepSink(Losing, Closing):
    """NG and ERROR results: the picture as it came, drawn, and the result line; clips on demand.

    ``FOLDER/DAY/NAME.jpg``, ``NAME_drawn.jpg``, ``NAME.json``, ``NAME_clip.avi``. An ERROR that
    lasts is kept once, then every ten seconds. With clips each picture is compressed as it comes,
    which costs 1 ms at 640x480 and 6 ms at 1920x1080; one clip shows parts that follow each other,
    60 s at most.

    Args:
        folder: made if it is not there.
        options: how much.

    Raises:
        SinkError: the folder cannot be made or written.
    """

    lossless = False
    missed = 0
    alone = True  # what it keeps is evidence: it does not wait for a video

    def __init__(
        self, folder: str | os.PathLike[str], *, options: KeepOptions | None = None
    ) -> None:
        options = options or KeepOptions()
        self._losses = Losses(shown(folder), "kept parts")
        home = Path(folder)
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._quota = Quota(
                home,
                most_bytes=options.most_bytes,
                least_free_bytes=options.least_free_bytes,
            )
        except OSError as error:
            raise SinkError(f"{shown(folder)}: {error.strerror}; name another folder") from error
        if not os.access(home, os.W_OK):
            raise SinkError(f"{shown(folder)}: not writable; name another folder")
        self._clips: _Clips | None = None
        if options.clip_s > 0:
            room = min(_CLIP_BYTES, options.most_bytes // 4)
            self._clips = _Clips(self._quota, seconds=options.clip_s, room=room)
        self._lasting = Lasting()

    def write(self, result: Result) -> None:
        """Keep it if it is NG or ERROR, and let a clip take it in."""
        kept = self._is_kept(result)
        try:
            if self._clips is not None:
                self._clips.take(result, begins=kept)
            if kept:
                self._keep(result)
        except (cv2.error, OSError, SinkError) as error:
            self._losses.add(getattr(error, "strerror", None) or str(error).splitlines()[0])
        else:
            if kept:
                self._losses.recovered()

    def close(self) -> None:
        """Complete the clip that is under way; a second call does nothing."""
        if self._clips is None:
            return
        try:
            self._clips.close()
        except (cv2.error, OSError) as error:
            self._losses.add(str(error).splitlines()[0])

    def _is_kept(self, result: Result) -> bool:
        if result.verdict is not Verdict.ERROR:
            return result.verdict is Verdict.NG
        return self._lasting.is_news(result.reason)

    def _keep(self, result: Result) -> None:
        name = name_from_result(result)
        line = json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False)
        files = {f"{name}.json": line.encode("utf-8", "backslashreplace")}
        if result.image is not None:
            files[f"{name}.jpg"] = _jpeg(result.image)
            files[f"{name}_drawn.jpg"] = _jpeg(draw(result))
        for file, data in files.items():
            self._quota.make_room(len(data))
            path = self._quota.path_for(file)
            _write_whole(path, data)
            self._quota.add(path)


class _Clips:
    """The pictures of the last seconds, and the clip that is under way."""

    def __init__(self, quota: Quota, *, seconds: float, room: int) -> None:
        self._quota = quota
        self._room = room
        self._seconds_ns = int(seconds * 1e9)
        self._ring: deque[tuple[Result, bytes | None]] = deque()
        self._ring_bytes = 0
        self._video: VideoSink | None = None
        self._path = Path()
        self._began_ns = 0
        self._ends_ns = 0

    def take(self, result: Result, *, begins: bool) -> None:
        """Take a result in; one that `begins` is shown with what was before and comes after."""
        now = time.monotonic_ns()
        data = None if result.image is None else _jpeg(result.image)
        bare = dataclasses.replace(result, image=None, anomaly_map=None)
        self._ring.append((bare, data))
        self._ring_bytes += len(data or b"")
        if begins:
            if self._video is None:
                self._begin(result, now)
            latest = self._began_ns + int(_LONGEST_CLIP_S * 1e9)
            self._ends_ns = min(now + self._seconds_ns, latest)
        if self._video is None:
            self._forget(result.captured_at_ns)
            return
        self._write(self._video, _AT_ONCE)
        if now >= self._ends_ns:
            self.close()

    def close(self) -> None:
        """Write what is left of the clip, and give it its name."""
        video, self._video = self._video, None
        if video is None:
            return
        try:
            self._write(video, len(self._ring))
        finally:
            video.close()
            if self._path.exists():
                self._quota.add(self._path)
        if video.lost:
            raise OSError(video.trouble)

    def _begin(self, result: Result, now: int) -> None:
        self._quota.make_room(self._room)
        self._path = self._quota.path_for(f"{name_from_result(result)}_clip.avi")
        self._video = VideoSink(self._path, rate_hz=self._rate_hz())
        self._began_ns = now

    def _write(self, video: VideoSink, most: int) -> None:
        """Write some of what waits: a whole clip at once would hold up the next picture."""
        for _ in range(min(most, len(self._ring))):
            bare, data = self._ring.popleft()
            self._ring_bytes -= len(data or b"")
            image = None
            if data is not None:
                array = np.frombuffer(data, np.uint8)
                image = np.asarray(cv2.imdecode(array, cv2.IMREAD_COLOR), np.uint8)
            video.write(dataclasses.replace(bare, image=image))

    def _forget(self, now_ns: int) -> None:
        """Let go of what is too old, or too much."""
        while self._ring:
            age_ns = abs(now_ns - self._ring[0][0].captured_at_ns)
            if age_ns <= self._seconds_ns and self._ring_bytes <= _RING_BYTES:
                return
            _, data = self._ring.popleft()
            self._ring_bytes -= len(data or b"")

    def _rate_hz(self) -> float:
        if len(self._ring) < 2:
            return 25.0
        passed_ns = self._ring[-1][0].captured_at_ns - self._ring[0][0].captured_at_ns
        rate_hz = (len(self._ring) - 1) * 1e9 / passed_ns if passed_ns > 0 else 25.0
        return min(max(rate_hz, _RATES_HZ[0]), _RATES_HZ[1])


def _jpeg(image: np.ndarray) -> bytes:
    good, data = cv2.imencode(".jpg", image, _QUALITY)
    if not good:
        raise OSError("OpenCV could not encode a picture")
    return data.tobytes()


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file under its name only once it is complete."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
