"""What the user names becomes a source of frames."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cameras.errors import SourceError
from cameras.files import open_path
from cameras.gstreamer import open_csi
from cameras.names import redacted
from cameras.network import open_network
from cameras.source import Source
from cameras.v4l2 import open_v4l2

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class _Wishes:
    stall_after: float
    open_timeout: float
    size: tuple[int, int] | None
    rate_hz: float | None


def _network(address: str, wishes: _Wishes) -> Source:
    return open_network(address, stall_after=wishes.stall_after, open_timeout=wishes.open_timeout)


def _csi(address: str, wishes: _Wishes) -> Source:
    return open_csi(
        address, stall_after=wishes.stall_after, size=wishes.size, rate_hz=wishes.rate_hz
    )


def _file(address: str, wishes: _Wishes) -> Source:
    return _path(Path(address.removeprefix("file://")), wishes)


def _path(path: Path, wishes: _Wishes) -> Source:
    if _is_device(path):
        return open_v4l2(
            path, stall_after=wishes.stall_after, size=wishes.size, rate_hz=wishes.rate_hz
        )
    return open_path(path)


OPENERS: dict[str, Callable[[str, _Wishes], Source]] = {
    "rtsp": _network,
    "rtsps": _network,
    "http": _network,
    "https": _network,
    "csi": _csi,
    "file": _file,
}


def open_source(
    source: str | int | Path,
    *,
    stall_after: float = 1.0,
    open_timeout: float = 2.0,
    size: tuple[int, int] | None = None,
    rate_hz: float | None = None,
) -> Source:
    """Open a camera, a network stream, a video, an image, a folder or a glob.

    Args:
        source: ``0``, ``/dev/video0``, ``csi://0``, ``rtsp://…``, ``http://…``, a file, a folder
            (images directly in it), or a glob (``'parts/**/*.png'``).
        stall_after: live only: seconds without a frame after which a frame without image comes.
        open_timeout: network only: seconds in which the camera has to answer.
        size: webcam and CSI only: (width, height) to ask for.
        rate_hz: webcam and CSI only: frames per second to ask for.

    Returns:
        A context manager and iterable of `Frame`; it must be closed.

    Raises:
        SourceError: what is named does not exist, cannot be read, or is of no known kind.
        CameraError: a camera that does not answer.
        ValueError: a time that is not positive.
    """
    for name, value in {"stall_after": stall_after, "open_timeout": open_timeout}.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} {value}: must be a positive number of seconds")
    wishes = _Wishes(stall_after, open_timeout, size, rate_hz)
    if isinstance(source, int):
        return _path(Path(f"/dev/video{source}"), wishes)
    if isinstance(source, Path):
        return _path(source, wishes)
    if not source.strip() or "\0" in source:
        raise SourceError("no source named; try 0, /dev/video0, rtsp://…, a file or a folder")
    if (scheme := _SCHEME.match(source)) is not None:
        opener = OPENERS.get(scheme[1].lower())
        if opener is None:
            known = ", ".join(f"{name}://" for name in OPENERS)
            raise SourceError(f"{redacted(source)}: unknown scheme; known: {known}")
        return opener(source, wishes)
    if source.isascii() and source.isdigit() and not Path(source).exists():
        return _path(Path(f"/dev/video{source}"), wishes)
    return _path(Path(source).expanduser(), wishes)


def _is_device(path: Path) -> bool:
    return bool(re.fullmatch(r"/dev/video\d+", str(path))) or path.is_char_device()
