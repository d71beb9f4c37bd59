"""What the user names becomes a source of frames: one table of schemes.

A module is loaded when its scheme is asked for: to read a PNG, nothing of cameras is needed.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from cameras.errors import SourceError
from cameras.files.path import expand_home, open_path
from cameras.options import OpenOptions
from cameras.redaction import looks_like_address, printable_path, redact_address
from cameras.source import Source

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(//)?")
_BEFORE_PATH = re.compile(r"\A(?:file|watch|replay|v4l2):(?://)?", re.IGNORECASE)
_INDEX = re.compile(r"[0-9]{1,4}", re.ASCII)


def _open_network(address: str, options: OpenOptions) -> Source:
    from cameras.devices.network import open_network

    return open_network(address, options)


def _open_v4l2(address: str, options: OpenOptions) -> Source:
    from cameras.devices.v4l2 import open_v4l2

    bare, options = _split_query(address, options)
    path = _BEFORE_PATH.sub("", bare)
    if _INDEX.fullmatch(path):
        path = f"/dev/video{int(path)}"
    return open_v4l2(Path(path), options)


def _open_csi(address: str, options: OpenOptions) -> Source:
    from cameras.devices.gstreamer import open_csi

    return open_csi(*_split_query(address, options))


def _open_gst(address: str, options: OpenOptions) -> Source:
    from cameras.devices.gstreamer import open_pipeline

    return open_pipeline(address, options.with_query("gst:", ""))


def _open_genicam(address: str, options: OpenOptions) -> Source:
    from cameras.devices.genicam import open_genicam

    return open_genicam(*_split_query(address, options))


def _open_watch(address: str, options: OpenOptions) -> Source:
    from cameras.files.watched_folder import open_watched_folder

    return open_watched_folder(*_split_local(address, options))


def _open_replay(address: str, options: OpenOptions) -> Source:
    from cameras.devices.replay import open_replay

    return open_replay(*_split_local(address, options))


def _open_post(address: str, options: OpenOptions) -> Source:
    from cameras.push.http import open_post

    return open_post(*_split_query(address, options))


def _open_file(address: str, options: OpenOptions) -> Source:
    return _open_files(_local_path(address), options.with_query(printable_path(address), ""))


SCHEMES: Mapping[str, Callable[[str, OpenOptions], Source]] = MappingProxyType(
    {
        "rtsp": _open_network,
        "rtsps": _open_network,
        "http": _open_network,
        "https": _open_network,
        "v4l2": _open_v4l2,
        "csi": _open_csi,
        "gst": _open_gst,
        "genicam": _open_genicam,
        "file": _open_file,
        "watch": _open_watch,
        "post": _open_post,
        "replay": _open_replay,
    }
)
_WITHOUT_SLASHES = (_open_v4l2, _open_gst, _open_genicam, _open_watch, _open_replay)
"""What names a path or a pipeline, and so needs no ``//``."""


def open_source(
    source: str | int | Path,
    *,
    stall_after: float = 1.0,
    open_timeout: float = 2.0,
    options: Mapping[str, str | float] | None = None,
    bit_depth: int | None = None,
) -> Source:
    """Open a camera, a network stream, a video, an image, a folder or a glob.

    Args:
        source: ``0``, ``/dev/video0``, ``rtsp://…``, ``http://…``, ``csi://0``, ``gst:…``,
            ``genicam:…``, a file, a folder (images directly in it), a glob (``'parts/**/*.png'``),
            ``watch:FOLDER``, ``post://…`` or ``replay:FILE``, with options in its query;
            docs/cameras.md lists them.
        stall_after: live only: seconds without a frame after which a frame without image comes.
        open_timeout: network only: seconds in which the camera has to answer.
        options: the same words as in the query, and in place of its own.
        bit_depth: of the values in 16-bit image files; None is all 16. Cameras say it themselves.

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
    words = {word: _text_from_value(value) for word, value in (options or {}).items()}
    asked = OpenOptions(
        "", words, stall_after=stall_after, open_timeout=open_timeout, bit_depth=bit_depth
    )
    if isinstance(source, int):
        return _open_v4l2(f"/dev/video{source}", asked)
    if isinstance(source, Path):
        return _open_local(source, asked)
    if not source.strip() or "\0" in source or not _can_be_a_name(source):
        raise SourceError("no source named; try 0, /dev/video0, rtsp://…, a file or a folder")
    scheme = _SCHEME.match(source)
    if scheme is not None:
        opener = SCHEMES.get(scheme[1].lower())
        if opener is not None and (scheme[2] or opener in _WITHOUT_SLASHES):
            # FFmpeg knows schemes in lower case alone.
            return opener(scheme[1].lower() + source[scheme.end(1) :], asked)
        if scheme[2]:
            known = ", ".join(f"{name}:" for name in SCHEMES)
            raise SourceError(f"{redact_address(source)}: unknown scheme; known: {known}")
    if _INDEX.fullmatch(source.partition("?")[0]) and not Path(source).exists():
        return _open_v4l2(source, asked)
    return _open_what_looks_like_a_path(source, asked)


def _open_what_looks_like_a_path(source: str, options: OpenOptions) -> Source:
    try:
        if _is_device(Path(source.partition("?")[0])):
            return _open_v4l2(source, options)
        return _open_local(expand_home(source), options)
    except SourceError:
        if looks_like_address(source):
            raise SourceError(
                f"{redact_address(source)}: no such file; an address begins with rtsp:// or http://"
            ) from None
        raise


def _open_local(path: Path, options: OpenOptions) -> Source:
    if _is_device(path):
        return _open_v4l2(str(path), options)
    return _open_files(path, options.with_query(printable_path(path), ""))


def _open_files(path: Path, options: OpenOptions) -> Source:
    options.refuse_unknown()  # files take none
    return open_path(path, bit_depth=options.bit_depth)


def _split_query(address: str, options: OpenOptions) -> tuple[str, OpenOptions]:
    """Return the address without its query, and the options of both."""
    bare, _, query = address.partition("?")
    return bare, options.with_query(redact_address(bare), query)


def _split_local(address: str, options: OpenOptions) -> tuple[Path, OpenOptions]:
    """Return the path behind a scheme, and the options; a ``?`` may be the path's own."""
    whole = _local_path(address)
    if _exists(whole):
        return whole, options.with_query(redact_address(address), "")
    bare, options = _split_query(address, options)
    return _local_path(bare), options


def _local_path(address: str) -> Path:
    """Return the path behind a scheme; behind ``//`` percent signs are decoded if need be."""
    path = expand_home(_BEFORE_PATH.sub("", address))
    decoded = unquote(str(path))
    is_url = address.partition(":")[2].startswith("//") and "\0" not in decoded
    return Path(decoded) if is_url and not _exists(path) and _can_be_a_name(decoded) else path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long: whoever opens it says so
        return False


def _is_device(path: Path) -> bool:
    if re.fullmatch(r"/dev/(video\d+|v4l/.+)", str(path)):
        return True
    try:
        return path.is_char_device()
    except OSError as error:
        raise SourceError(
            f"{printable_path(path)}: {error.strerror}; check path and permissions"
        ) from error


def _text_from_value(value: str | float) -> str:
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
