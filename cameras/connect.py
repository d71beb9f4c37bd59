"""What the user names becomes a source of frames: one table of schemes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from cameras.devices.genicam import open_genicam
from cameras.devices.gstreamer import open_csi, open_pipeline
from cameras.devices.network import open_network
from cameras.devices.v4l2 import open_v4l2
from cameras.errors import SourceError
from cameras.files.replay import open_replay
from cameras.files.source import open_path
from cameras.files.watched_folder import open_folder
from cameras.options import Options, words_from_query
from cameras.push.http import open_post
from cameras.push.tcp import open_tcp
from cameras.push.zeromq import open_zeromq
from cameras.redaction import looks_like_address, redacted, shown
from cameras.source import Source

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(//)?")
_BEFORE_PATH = re.compile(r"\A(?:file|watch|replay|v4l2):(?://)?", re.IGNORECASE)
_INDEX = re.compile(r"[0-9]{1,4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for beside the address.

    Attributes:
        stall_after: seconds without a frame that count as a stall.
        open_timeout: seconds in which a network camera has to answer.
        words: options in place of, or beside, those of the address.
    """

    stall_after: float
    open_timeout: float
    words: Mapping[str, str] = field(default_factory=dict)

    def taken_apart(self, address: str) -> tuple[str, Options]:
        """Return the address without its query, and the options of both.

        Raises:
            SourceError: a query that cannot be read.
        """
        bare, _, query = address.partition("?")
        name = redacted(bare)
        return bare, Options(name, {**words_from_query(name, query), **self.words})

    def none(self, name: str) -> None:
        """Refuse options where a source takes none."""
        Options(name, self.words).done()


def _network(address: str, wishes: Wishes) -> Source:
    return open_network(
        address,
        words=dict(wishes.words),
        stall_after=wishes.stall_after,
        open_timeout=wishes.open_timeout,
    )


def _v4l2(address: str, wishes: Wishes) -> Source:
    bare, options = wishes.taken_apart(address)
    path = _BEFORE_PATH.sub("", bare)
    if _INDEX.fullmatch(path):
        path = f"/dev/video{int(path)}"
    return open_v4l2(Path(path), options=options, stall_after=wishes.stall_after)


def _csi(address: str, wishes: Wishes) -> Source:
    bare, options = wishes.taken_apart(address)
    return open_csi(bare, options=options, stall_after=wishes.stall_after)


def _gst(address: str, wishes: Wishes) -> Source:
    wishes.none("gst:")
    return open_pipeline(address, stall_after=wishes.stall_after)


def _genicam(address: str, wishes: Wishes) -> Source:
    bare, options = wishes.taken_apart(address)
    return open_genicam(
        bare, options=options, stall_after=wishes.stall_after, open_timeout=wishes.open_timeout
    )


def _watch(address: str, wishes: Wishes) -> Source:
    bare, options = wishes.taken_apart(address)
    return open_folder(_local(bare), options=options)


def _replay(address: str, wishes: Wishes) -> Source:
    bare, options = wishes.taken_apart(address)
    return open_replay(_local(bare), options=options, stall_after=wishes.stall_after)


def _push(opener: Callable[..., Source]) -> Callable[[str, Wishes], Source]:
    def opened(address: str, wishes: Wishes) -> Source:
        bare, options = wishes.taken_apart(address)
        return opener(bare, options=options, stall_after=wishes.stall_after)

    return opened


def _file(address: str, wishes: Wishes) -> Source:
    wishes.none(shown(address))
    return open_path(_local(address))


SCHEMES: Mapping[str, Callable[[str, Wishes], Source]] = MappingProxyType(
    {
        "rtsp": _network,
        "rtsps": _network,
        "http": _network,
        "https": _network,
        "v4l2": _v4l2,
        "csi": _csi,
        "gst": _gst,
        "genicam": _genicam,
        "file": _file,
        "watch": _watch,
        "tcp": _push(open_tcp),
        "post": _push(open_post),
        "zmq": _push(open_zeromq),
        "replay": _replay,
    }
)


def open_source(
    source: str | int | Path,
    *,
    stall_after: float = 1.0,
    open_timeout: float = 2.0,
    options: Mapping[str, str | float] | None = None,
) -> Source:
    """Open a camera, a network stream, a video, an image, a folder or a glob.

    Args:
        source: ``0``, ``/dev/video0``, ``rtsp://…``, ``http://…``, ``csi://0``, ``gst:…``,
            ``genicam:…``, a file, a folder (images directly in it), a glob (``'parts/**/*.png'``),
            ``watch:FOLDER``, ``tcp://…``, ``post://…``, ``zmq://…`` or ``replay:FILE``, with
            options in its query; docs/cameras.md lists them.
        stall_after: live only: seconds without a frame after which a frame without image comes.
        open_timeout: network only: seconds in which the camera has to answer.
        options: the same words as in the query, and in place of its own.

    Returns:
        A context manager and iterable of `Frame`; it must be closed.

    Raises:
        SourceError: what is named does not exist, cannot be read, is of no known kind, or has
            an option that makes no sense.
        CameraError: a camera that does not answer.
        ValueError: a time that is not positive.
    """
    for name, value in {"stall_after": stall_after, "open_timeout": open_timeout}.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} {value}: must be a positive number of seconds")
    words = {word: _written(value) for word, value in (options or {}).items()}
    wishes = Wishes(stall_after, open_timeout, words)
    if isinstance(source, int):
        return _v4l2(f"/dev/video{source}", wishes)
    if isinstance(source, Path):
        return _path(source, wishes)
    if not source.strip() or "\0" in source or not _can_be_a_name(source):
        raise SourceError("no source named; try 0, /dev/video0, rtsp://…, a file or a folder")
    scheme = _SCHEME.match(source)
    if scheme is not None:
        opener = SCHEMES.get(scheme[1].lower())
        if opener is not None and (scheme[2] or opener in _WITHOUT_SLASHES):
            return opener(source, wishes)
        if scheme[2]:
            known = ", ".join(f"{name}:" for name in SCHEMES)
            raise SourceError(f"{redacted(source)}: unknown scheme; known: {known}")
    if _INDEX.fullmatch(source.partition("?")[0]) and not Path(source).exists():
        return _v4l2(source, wishes)
    return _named(source, wishes)


_WITHOUT_SLASHES = (_v4l2, _gst, _genicam, _watch, _replay)
"""What names a path or a pipeline, and so needs no ``//``."""


def _named(source: str, wishes: Wishes) -> Source:
    """Open what looks like a path."""
    try:
        if _is_device(Path(source.partition("?")[0])):
            return _v4l2(source, wishes)
        return _path(_expanded(source), wishes)
    except SourceError:
        if looks_like_address(source):
            raise SourceError(
                f"{redacted(source)}: no such file; an address begins with rtsp:// or http://"
            ) from None
        raise


def _path(path: Path, wishes: Wishes) -> Source:
    if _is_device(path):
        return _v4l2(str(path), wishes)
    wishes.none(shown(path))
    return open_path(path)


def _local(address: str) -> Path:
    """The path behind a scheme, with or without ``//``."""
    return _expanded(_BEFORE_PATH.sub("", address))


def _expanded(name: str) -> Path:
    path = Path(name)
    try:
        return path.expanduser()
    except RuntimeError:  # nobody of this name has a home: then it is a file of this name
        return path


def _is_device(path: Path) -> bool:
    if re.fullmatch(r"/dev/(video\d+|v4l/.+)", str(path)):
        return True
    try:
        return path.is_char_device()
    except OSError as error:
        raise SourceError(f"{shown(path)}: {error.strerror}; check path and permissions") from error


def _written(value: str | float) -> str:
    """Return a value as it would stand in a query; 30.0 and true are 30 and 1."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == value // 1 else repr(value)


def _can_be_a_name(source: str) -> bool:
    try:
        os.fsencode(source)
    except UnicodeEncodeError:
        return False
    return True
