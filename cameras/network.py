"""Network cameras: RTSP and HTTP (MJPEG) addresses, through OpenCV's FFmpeg."""

from __future__ import annotations

import cv2

from cameras.capture import Device, LiveSource
from cameras.names import redacted

_CHECK = "address, user and password, that the camera is on, cable and network"


def open_network(address: str, *, stall_after: float, open_timeout: float) -> LiveSource:
    """Open a network camera.

    Args:
        address: ``rtsp://``, ``rtsps://``, ``http://`` or ``https://``; may contain credentials,
            which appear in no message, record or picture.
        stall_after: seconds without a frame that count as a stall; also ends a blocked read.
        open_timeout: seconds in which it has to answer.

    Raises:
        CameraError: it did not answer.
    """
    parameters = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(open_timeout * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(stall_after * 1000)),
        # Each further decoder thread holds back one more frame.
        *(cv2.CAP_PROP_N_THREADS, 1),
    )
    return LiveSource(
        Device(address, cv2.CAP_FFMPEG, parameters),
        name=redacted(address),
        stall_after=stall_after,
        check=_CHECK,
    )
