"""Webcams and other Video4Linux devices: ``0``, ``/dev/video0``."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2

from cameras.capture import Device, LiveSource
from cameras.errors import SourceError
from cameras.names import shown


def open_v4l2(
    path: Path, *, stall_after: float, size: tuple[int, int] | None, rate_hz: float | None
) -> LiveSource:
    """Open a Video4Linux device.

    Args:
        path: ``/dev/video0``, or a link to it such as those under ``/dev/v4l/by-id``.
        stall_after: seconds without a frame that count as a stall.
        size: (width, height) to ask for; the camera takes the nearest that it has.
        rate_hz: frames per second to ask for.

    Raises:
        SourceError: no such device, or no permission to use it.
        CameraError: it does not deliver.
    """
    _require(path)
    # Read once, at the first use of such a device; the default is ten seconds.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(max(1, math.ceil(stall_after))))
    parameters: list[int] = []
    if size is not None:
        # Uncompressed video of this size seldom fits through USB; MJPEG does.
        parameters += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")]
        parameters += [cv2.CAP_PROP_FRAME_WIDTH, size[0], cv2.CAP_PROP_FRAME_HEIGHT, size[1]]
    if rate_hz is not None:
        parameters += [cv2.CAP_PROP_FPS, round(rate_hz)]
    return LiveSource(
        Device(str(path), cv2.CAP_V4L2, tuple(parameters)),
        name=shown(path),
        stall_after=stall_after,
        check="that no other program uses it, the cable, and `v4l2-ctl --list-devices`",
    )


def _require(path: Path) -> None:
    if not path.exists():
        present = ", ".join(sorted(str(device) for device in Path("/dev").glob("video*")))
        raise SourceError(f"{shown(path)}: no such camera; present: {present or 'none'}")
    if not path.is_char_device():
        raise SourceError(f"{shown(path)}: not a camera device; name /dev/videoN")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(
            f"{shown(path)}: no permission; run `sudo usermod -aG video $USER` and log in again"
        )
