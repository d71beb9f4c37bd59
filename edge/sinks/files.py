"""Where results go: JSON lines, a video, pictures, a window.

Each is a context manager with `write(result)`. A sink that cannot be opened raises `SinkError`
before anything is inspected. One that can no longer write says so once, on one line of the log,
counts what it could not write in `lost`, goes on trying, and never stops the inspection.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np

from cameras.closing import Closing
from cameras.redaction import shown
from edge.drawing.overlay import draw
from edge.result import Image, Result, Verdict
from edge.sinks.losses import Losing, Losses
from edge.sinks.rotated_file import RotatedFile

Paint: TypeAlias = Callable[[Result], Image]

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_RATE_OVER_S = 2.0
_CLOSE_S = 1.0


class SinkError(RuntimeError):
    """A sink cannot be opened: nothing has been inspected yet, correct it and start again."""


class Sink(Protocol):
    """Takes results in order, always from the same thread.

    A sink may also have ``flush()``, called when nothing more waits for it; ``trouble``: why it
    loses results now, in words, empty when it does not; and ``missed``: how many results came too
    quickly for it, counted by who hands them over.

    Attributes:
        lossless: whether it must get every result, and then without pictures; one that draws may
            be left out when a live camera is faster than it.
    """

    lossless: bool

    @property
    def lost(self) -> int:
        """Results that it was given and could not write."""
        ...

    def write(self, result: Result) -> None:
        """Write one result; what goes wrong is counted in `lost` and not raised."""
        ...


class Rate:
    """Counts what comes, for how many a second that is; used by one thread."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def counted(self, now: float) -> float | None:
        """Count one more, and return how many a second have come lately; None at first.

        Args:
            now: monotonic, in s.
        """
        self._times.append(now)
        while now - self._times[0] > _RATE_OVER_S:
            self._times.popleft()
        passed = now - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0.2 else None


class Painter:
    """Draws results with the rate at which they come; sinks that share one draw each only once.

    Args:
        opacity: of the heat map, 0 to 1.
    """

    def __init__(self, *, opacity: float = 0.5) -> None:
        self._opacity = opacity
        self._rate = Rate()
        self._last: tuple[Result, Image] | None = None

    def __call__(self, result: Result) -> Image:
        """Return the drawn picture; it is shared, so it must not be changed."""
        if self._last is None or self._last[0] is not result:
            rate_hz = self._rate.counted(time.monotonic())
            picture = draw(result, opacity=self._opacity, rate_hz=rate_hz)
            self._last = (result, picture)
        return self._last[1]


class LinesFile(Losing, Closing):
    """Lines of JSON, each in the file as soon as it is added.

    Args:
        path: the file.
        append: keep what is in it; otherwise it is replaced.
        most_bytes: a new file is begun before it grows larger; None = no limit.
        kept: older files beside it, as ``NAME.1`` and so on.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        append: bool = False,
        most_bytes: int | None = None,
        kept: int = 9,
    ) -> None:
        self._losses = Losses(shown(path), "result lines")
        try:
            self._file = RotatedFile(path, append=append, most_bytes=most_bytes, kept=kept)
        except OSError as error:
            raise SinkError(f"{shown(path)}: {error.strerror}; name a file to write") from error

    def add(self, line: str) -> None:
        """Write one line; a full disk costs this line, and is reported once."""
        try:
            self._file.write(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._losses.add(error.strerror or str(error))
        else:
            self._losses.recovered()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


class ResultsSink(LinesFile):
    """One line per result, `Result.to_json`; see `LinesFile`."""

    lossless = True
    missed = 0

    def write(self, result: Result) -> None:
        """Write one line; see `LinesFile.add`."""
        self.add(json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False))


class VideoSink(Losing, Closing):
    """A video of the drawn results, renamed to its name when it is complete.

    Until then it is beside it as ``NAME.part.SUFFIX``. A program that is killed leaves that file:
    ``.avi`` and ``.mkv`` play up to there, ``.mp4`` does not. Pictures of another size than the
    first are scaled to it; an ERROR without image before the first picture is left out.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov``, ``.mkv`` (MPEG-4) or ``.avi`` (Motion JPEG).
        rate_hz: frames per second at which it plays.
        paint: draws; share one between sinks so that each result is drawn once.

    Raises:
        SinkError: another suffix, a folder that cannot be written, or no such encoder here.
    """

    lossless = False
    missed = 0

    def __init__(
        self, path: str | os.PathLike[str], *, rate_hz: float = 25.0, paint: Paint | None = None
    ) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f"{self._path.stem}.part{self._path.suffix}")
        self._losses = Losses(shown(path), "video frames")
        self._rate_hz = rate_hz
        self._paint = paint or Painter()
        codec = _CODECS.get(self._path.suffix.lower())
        if codec is None:
            raise SinkError(f"{shown(path)}: unknown kind of video; use {', '.join(_CODECS)}")
        self._codec = codec
        self._size = (64, 64)  # (width, height)
        self._frames = 0
        self._writer: cv2.VideoWriter | None = None
        self._busy = threading.Lock()  # closed by another thread than the one that writes
        self._try_encoder()

    def write(self, result: Result) -> None:
        """Draw and append one frame."""
        if self._writer is None and result.image is None:
            return
        with self._busy:
            self._write(result)

    def close(self) -> None:
        """Complete the video and give it its name; a second call does nothing."""
        if not self._busy.acquire(timeout=_CLOSE_S):
            self._losses.add("the disk hangs")  # and the thread that writes with it
            return
        try:
            self._complete()
        finally:
            self._busy.release()

    def _write(self, result: Result) -> None:
        try:
            picture = self._paint(result)
            if self._writer is None:
                height, width = picture.shape[:2]
                self._size = (max(2, width & ~1), max(2, height & ~1))  # MPEG-4 wants even sides
                self._writer = self._open()
            if (picture.shape[1], picture.shape[0]) != self._size:
                scaled = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
                picture = np.asarray(scaled, np.uint8)
            self._writer.write(picture)
            self._frames += 1
        except (cv2.error, OSError) as error:
            self._losses.add(str(error).splitlines()[0])

    def _complete(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        # The encoder does not tell of a full disk: what it left is asked instead.
        if self._frames_on_disk() < 0.9 * self._frames:
            self._losses.add(f"incomplete, kept as {shown(self._part)}; is the disk full?")
            return
        try:
            self._part.replace(self._path)
        except OSError as error:
            self._losses.add(f"kept as {shown(self._part)}: {error.strerror}")

    def _try_encoder(self) -> None:
        """Write nothing, so that a wrong path or a missing encoder is known before the start."""
        try:
            self._part.touch()
            self._open().release()
        except OSError as error:
            raise SinkError(f"{shown(self._path)}: {error.strerror or error}") from error
        finally:
            self._part.unlink(missing_ok=True)

    def _open(self) -> cv2.VideoWriter:
        fourcc = cv2.VideoWriter.fourcc(*self._codec)
        # As bytes: a name that is not UTF-8 crashes OpenCV when it is passed as text.
        name: str = os.fsencode(self._part.absolute())  # type: ignore[assignment]
        writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, fourcc, self._rate_hz, self._size)
        if not writer.isOpened():
            raise OSError(f"this OpenCV cannot encode {self._codec}; record another kind of video")
        return writer

    def _frames_on_disk(self) -> int:
        capture = cv2.VideoCapture()
        name: str = os.fsencode(self._part.absolute())  # type: ignore[assignment]
        try:
            opened = capture.open(name, cv2.CAP_FFMPEG)
            return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if opened else 0
        finally:
            capture.release()


class PicturesSink(Losing, Closing):
    """A folder of drawn results, named by time of capture, frame and verdict.

    Args:
        folder: made when it does not exist.
        only_ng: keep NG alone.
        suffix: ``.jpg`` or ``.png``.
        paint: draws; share one between sinks so that each result is drawn once.

    Raises:
        SinkError: the folder cannot be made or written.
    """

    lossless = False
    missed = 0

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        only_ng: bool = False,
        suffix: str = ".jpg",
        paint: Paint | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._only_ng = only_ng
        self._suffix = suffix
        self._paint = paint or Painter()
        self._losses = Losses(shown(folder), "pictures")
        if suffix not in (".jpg", ".png"):
            raise SinkError(f"pictures of kind {suffix!r} are not written; use .jpg or .png")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{shown(folder)}: {error.strerror}; name another folder") from error
        if not os.access(self._folder, os.W_OK):
            raise SinkError(f"{shown(folder)}: not writable; name another folder")

    def write(self, result: Result) -> None:
        """Draw and write one picture, or none if it is not to be kept."""
        if self._only_ng and result.verdict is not Verdict.NG:
            return
        path = self._folder / f"{name_from_result(result)}{self._suffix}"
        part = path.with_suffix(".part")
        try:
            good, data = cv2.imencode(self._suffix, self._paint(result))
            if not good:
                raise OSError(f"OpenCV could not encode {self._suffix}")
            part.write_bytes(data.tobytes())
            part.replace(path)
        except (cv2.error, OSError) as error:
            part.unlink(missing_ok=True)
            self._losses.add(getattr(error, "strerror", None) or str(error).splitlines()[0])
        else:
            self._losses.recovered()

    def close(self) -> None:
        """Do nothing: every picture is complete as soon as it is written."""


def name_from_result(result: Result) -> str:
    """Return a file name without suffix, such as ``20260131T101500.123Z_000012_NG_part-7``."""
    seconds, rest = divmod(result.captured_at_ns, 1_000_000_000)
    when = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y%m%dT%H%M%S")
    stem = "" if "://" in result.source else Path(result.source).stem
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", stem)[:60].strip("-.")
    tail = f"_{readable}" if readable else ""
    return f"{when}.{rest // 1_000_000:03d}Z_{result.frame:06d}_{result.verdict.value}{tail}"
