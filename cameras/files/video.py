"""Video files: every frame is delivered, the source waits, and a damaged frame says so."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import av.container
import av.error
from av.video.stream import VideoStream

from cameras.demux.opening import OpenError, close_quietly, find_video, open_container
from cameras.demux.reader import CodedPicture, PictureReader
from cameras.errors import CameraError, ImageError, SourceError
from cameras.files.read_ahead import ReadAhead
from cameras.frame import Frame
from cameras.redaction import printable_path
from cameras.source import Source, frame_now

_OWN_FILE_ALONE = {"protocol_whitelist": "file"}  # whatever a playlist in it names
# Containers round their duration, and streams in them end at different times.
_LACKING_S = 0.25
_LACKING_PART = 0.05


def open_video(path: Path) -> Source:
    """Open a video file.

    Raises:
        SourceError: unreadable, not a video, or coded in a way that is not decoded here.
    """
    name = printable_path(path)
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise SourceError(f"{name}: the file is empty; copy it again")
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}; check path and permissions") from error
    try:
        # Absolute: a relative name could be taken for an address.
        container = open_container(str(path.absolute()), _OWN_FILE_ALONE)
    except OpenError as error:
        raise SourceError(
            f"{name}: neither an image nor a video that can be decoded; convert it"
        ) from error
    try:
        stream = find_video(container)
    except CameraError as error:
        close_quietly(container)
        raise SourceError(f"{name}: {error}; convert it to H.264") from None
    rate_hz = float(stream.average_rate or 0)
    frames = _read_video(name, container, stream)
    return ReadAhead(name, frames, rate_hz=rate_hz if rate_hz > 0 else None)


def _read_video(
    name: str, container: av.container.InputContainer, stream: VideoStream
) -> Generator[Frame, None, None]:
    index = 0
    try:
        reader = PictureReader(container, stream)
        while True:
            try:
                pictures = reader.read()
            except (StopIteration, av.error.FFmpegError):
                break
            for picture in pictures:
                yield _frame_from_picture(name, index, picture)
                index += 1
        if reason := _find_lack(container, stream, reader):
            yield frame_now(name, index, None, f"{name}: {reason}; the file is damaged")
    finally:
        close_quietly(container)


def _frame_from_picture(name: str, index: int, picture: CodedPicture) -> Frame:
    try:
        return frame_now(name, index, picture.image())
    except ImageError as error:
        return frame_now(name, index, None, f"{name}: frame {index}: {error}")


def _find_lack(
    container: av.container.InputContainer, stream: VideoStream, reader: PictureReader
) -> str:
    """Return what the container announces and does not have; empty if nothing is known to lack.

    MP4 counts its frames. Of others time alone is known: frames may come at any rate, and what AVI
    calls a number of frames is its length by the clock of its rate.
    """
    counted = stream.frames if "mp4" in container.format.name.split(",") else 0
    if reader.packets < counted:
        return f"ended after {reader.packets} of {counted} frames"
    if reader.has_ended_early or not reader.packets:
        return f"ended early, after {reader.packets} frames"
    if counted or container.duration is None or reader.end_s is None:
        return ""
    began_s = (container.start_time or 0) / av.time_base
    announced_s, found_s = container.duration / av.time_base, reader.end_s - began_s
    slack_s = announced_s * _LACKING_PART + max(_LACKING_S, 2 * reader.longest_s)
    if found_s < announced_s - slack_s:
        return f"ended after {found_s:.1f} of {announced_s:.1f} s"
    return ""
