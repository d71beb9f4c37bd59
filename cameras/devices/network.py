"""Network cameras: RTSP and HTTP (MJPEG) addresses."""

from __future__ import annotations

import re
from pathlib import Path

from cameras.capture.source import LiveSource
from cameras.devices.network_camera import NetworkDevice
from cameras.devices.raw_password import encode_raw_password
from cameras.errors import SourceError
from cameras.files.path import expand_home
from cameras.options import OpenOptions
from cameras.redaction import redact_address

_CHECK = "address, user and password, that the camera is on, cable and network"
_OPTIONS = re.compile(r"#([a-z_]+=[^#@?&]*(?:&[a-z_]+=[^#@?&]*)*)\Z")
# Packets that are set aside until a missing one is known to be lost: only then FFmpeg tells it.
_REORDER = 8


def open_network(address: str, options: OpenOptions) -> LiveSource:
    """Open a network camera.

    Args:
        address: ``rtsp://``, ``rtsps://``, ``http://`` or ``https://``; may contain credentials,
            which appear in no message, record or picture. Its query is the camera's own; options
            follow a ``#``: ``transport`` (RTSP: tcp, the default, or udp) and ``ca`` (rtsps and
            https: file of the authority that the camera's certificate must be signed by).
        options: further ones.

    Raises:
        SourceError: a wrong option.
        CameraError: it did not answer.
    """
    found = _OPTIONS.search(address)
    if found is not None:
        address = address[: found.start()]
    options = options.with_query(redact_address(address), found[1] if found is not None else "")
    ffmpeg = _ffmpeg_from_options(address.partition(":")[0].lower(), options)
    return LiveSource(
        NetworkDevice(
            encode_raw_password(address), ffmpeg, options.open_timeout, options.stall_after
        ),
        name=options.name,
        stall_after=options.stall_after,
        check=_CHECK,
    )


def _ffmpeg_from_options(scheme: str, options: OpenOptions) -> tuple[tuple[str, str], ...]:
    """Return FFmpeg's options as pairs."""
    # As soon as there is a picture: what it would look at for longer would grow old.
    pairs = {"fpsprobesize": "0"}
    if scheme.startswith("rtsp"):
        transport = options.choice("transport", ("tcp", "udp"))
        pairs |= {"analyzeduration": "1000000", "allowed_media_types": "video"}
        pairs |= {"rtsp_transport": transport} if transport else {"rtsp_flags": "prefer_tcp"}
        pairs |= {} if transport == "udp" else {"reorder_queue_size": str(_REORDER)}
    if scheme in ("rtsps", "https"):
        authority = options.text("ca")
        pairs["tls_verify"] = "0"
        if authority is not None:
            authority = str(expand_home(authority))
            if not Path(authority).is_file():
                raise SourceError(f"{options.name}: ca must be the path of a PEM file")
            pairs |= {"tls_verify": "1", "ca_file": authority}
    options.refuse_unknown()
    return tuple(pairs.items())
