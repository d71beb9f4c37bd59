"""Network cameras: RTSP and HTTP (MJPEG) addresses, through OpenCV's FFmpeg."""

from __future__ import annotations

import re
from pathlib import Path

import cv2

from cameras.capture.source import LiveSource
from cameras.devices.opencv import OpenCvDevice
from cameras.errors import SourceError
from cameras.options import OpenOptions
from cameras.redaction import redact_address

_CHECK = "address, user and password, that the camera is on, cable and network"
_OPTIONS = re.compile(r"#([a-z_]+=[^#@?&]*(?:&[a-z_]+=[^#@?&]*)*)\Z")
_FFMPEG = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def open_network(address: str, options: OpenOptions) -> LiveSource:
    """Open a network camera.

    Args:
        address: ``rtsp://``, ``rtsps://``, ``http://`` or ``https://``; may contain credentials,
            which appear in no message, record or picture. Its query is the camera's own; options
            follow a ``#``: ``transport`` (RTSP: tcp, the default, or udp) and ``ca`` (rtsps and
            https: file of the authority that the camera's certificate must be signed by).
        options: further ones; its `stall_after` also ends a blocked read.

    Raises:
        SourceError: a wrong option.
        CameraError: it did not answer.
    """
    found = _OPTIONS.search(address)
    if found is not None:
        address = address[: found.start()]
    options = options.with_query(redact_address(address), found[1] if found is not None else "")
    parameters = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(options.open_timeout * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(options.stall_after * 1000)),
        # Each further decoder thread holds back one more frame.
        *(cv2.CAP_PROP_N_THREADS, 1),
    )
    ffmpeg = _ffmpeg_from_options(address.partition(":")[0].lower(), options)
    return LiveSource(
        OpenCvDevice(address, cv2.CAP_FFMPEG, parameters, environment=ffmpeg),
        name=options.name,
        stall_after=options.stall_after,
        check=_CHECK,
    )


def _ffmpeg_from_options(scheme: str, options: OpenOptions) -> tuple[tuple[str, str], ...]:
    """Return the variable in which OpenCV finds FFmpeg's options, ``key;value|key;value``.

    None without options: OpenCV then chooses TCP itself, or what the user's own variable says.
    """
    pairs: dict[str, str] = {}
    if scheme.startswith("rtsp"):
        transport = options.choice("transport", ("tcp", "udp"))
        pairs |= {"rtsp_transport": transport} if transport else {}
    if scheme in ("rtsps", "https"):
        authority = options.text("ca")
        if authority is not None:
            if not Path(authority).is_file() or set(authority) & set(";|"):
                raise SourceError(f"{options.name}: ca must be the path of a PEM file")
            pairs |= {"tls_verify": "1", "ca_file": authority}
    options.refuse_unknown()
    text = "|".join(f"{key};{value}" for key, value in pairs.items())
    return ((_FFMPEG, text),) if pairs else ()
