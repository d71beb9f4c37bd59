"""Opening a container, and what is said when it cannot be opened or has nothing to read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import av
import av.container
import av.error
from av.video.stream import VideoStream

from cameras.demux.ffmpeg_log import (
    LogLine,
    find_status,
    has_answered,
    is_http,
    is_mjpeg,
    is_redirected_on_and_on,
    listen,
)
from cameras.errors import CameraError

_CODED_AS = re.compile(r"Video: (\w+)(?:[^\n]*?\((\w{4}) / )?")
_STATUS: Mapping[str, int] = MappingProxyType(
    {
        "HTTPBadRequestError": 400,
        "HTTPUnauthorizedError": 401,
        "HTTPForbiddenError": 403,
        "HTTPNotFoundError": 404,
    }
)


class OpenError(CameraError):
    """A container cannot be opened; the message is a reason without a name.

    Args:
        reason: in words.
        is_slow: whether it had begun to deliver, and only time was missing.
    """

    def __init__(self, reason: str, *, is_slow: bool = False) -> None:
        super().__init__(reason)
        self.is_slow = is_slow


def open_container(
    address: str,
    options: Mapping[str, str],
    *,
    open_s: float | None = None,
    read_s: float | None = None,
) -> av.container.InputContainer:
    """Open what has pictures in it.

    Args:
        address: of a network, or an absolute path.
        options: FFmpeg's, for container and protocol.
        open_s: seconds in which it has to be open; None = however long it takes.
        read_s: seconds in which each packet has to come.

    Raises:
        OpenError: it cannot be opened.
    """
    with listen() as lines:
        try:
            return av.open(address, options=dict(options), timeout=(open_s, read_s))
        except (av.error.FFmpegError, ValueError) as error:
            # Not what FFmpeg says: that has the address in it.
            raise _open_error(error, lines, open_s) from None


def _open_error(error: Exception, lines: Sequence[LogLine], open_s: float | None) -> OpenError:
    if isinstance(error, av.error.ExitError):
        if has_answered(lines):
            return OpenError(f"answers, but sends no picture within {open_s:g} s", is_slow=True)
        return OpenError("does not answer")
    return OpenError(_describe_answer(error, lines))


def _describe_answer(error: Exception, lines: Sequence[LogLine]) -> str:
    """Say what came instead of a video."""
    if status := find_status(lines) or _STATUS.get(type(error).__name__):
        return f"answers with status {status}"
    if is_redirected_on_and_on(lines):
        return "redirects from one address to the next, without an end"
    if not has_answered(lines):
        return "does not answer"
    if is_mjpeg(lines):
        return "sends MJPEG that does not begin with a boundary, which cannot be read"
    what = ", but something else, such as a login page" if is_http(lines) else " that can be read"
    return f"sends no video{what}"


def find_video(container: av.container.InputContainer) -> VideoStream:
    """Return the first video stream, which has a decoder.

    Raises:
        CameraError: there is none; the message is a reason without a name.
    """
    videos = container.streams.video
    if not videos:
        raise CameraError("has no pictures in it")
    stream = videos[0]
    if stream.codec_context is None:
        raise CameraError(f"is coded as {_codec_name(container)}, which this FFmpeg cannot decode")
    return stream


def close_quietly(container: av.container.InputContainer) -> None:
    """Close a container; what FFmpeg writes about it is of no use."""
    with listen():
        container.close()


def _codec_name(container: av.container.InputContainer) -> str:
    """Return the name of a codec that has no decoder, or its four letters."""
    found = _CODED_AS.search(cast(Any, container).dumps_format())  # its stubs forgot it
    if found is None:
        return "something unknown"
    return found[1] if found[1] not in ("none", "unknown") else found[2] or "something unknown"
