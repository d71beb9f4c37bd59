"""Webcams and other Video4Linux devices: ``0``, ``/dev/video0``, ``/dev/v4l/by-id/…``."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2

from cameras.capture.source import LiveSource
from cameras.devices.opencv import OpenCvDevice
from cameras.errors import SourceError
from cameras.options import OpenOptions
from cameras.redaction import printable_path

_CHECK = "that no other program uses it, the cable, and `v4l2-ctl --list-devices`"
_BY_ID = Path("/dev/v4l/by-id")
# Menu of V4L2_CID_EXPOSURE_AUTO; webcams know the last one alone as "automatic".
_MANUAL, _APERTURE_PRIORITY = 1, 3
_PER_MS = 10  # V4L2_CID_EXPOSURE_ABSOLUTE counts in 100 µs

# Set in this order: what is automatic ignores the value by hand, or refuses it.
_SWITCHES = {
    "auto_white_balance": cv2.CAP_PROP_AUTO_WB,
    "autofocus": cv2.CAP_PROP_AUTOFOCUS,
}
_VALUES = {
    "gain": cv2.CAP_PROP_GAIN,
    "white_balance_k": cv2.CAP_PROP_WB_TEMPERATURE,
    "focus": cv2.CAP_PROP_FOCUS,
    "brightness": cv2.CAP_PROP_BRIGHTNESS,
    "contrast": cv2.CAP_PROP_CONTRAST,
    "saturation": cv2.CAP_PROP_SATURATION,
    "hue": cv2.CAP_PROP_HUE,
    "gamma": cv2.CAP_PROP_GAMMA,
    "sharpness": cv2.CAP_PROP_SHARPNESS,
    "backlight": cv2.CAP_PROP_BACKLIGHT,
    "zoom": cv2.CAP_PROP_ZOOM,
}
_OFF_BEFORE = {"white_balance_k": "auto_white_balance", "focus": "autofocus"}
_LIMIT = 1_000_000


def open_v4l2(path: Path, options: OpenOptions) -> LiveSource:
    """Open a Video4Linux device.

    Args:
        path: ``/dev/video0``, or a link to it such as those under ``/dev/v4l/by-id``.
        options: ``size``, ``fps`` and ``format`` (four letters, such as MJPG or YUYV), of which
            the camera takes the nearest that it has; ``exposure_ms``, ``auto_exposure`` and the
            other controls, without which a camera is not used.

    Raises:
        SourceError: no such device, no permission to use it, or a wrong option.
        CameraError: it does not deliver, or refuses a control.
    """
    parameters = _format_from_options(options)
    controls = (*_exposure_from_options(options), *_controls_from_options(options))
    options.refuse_unknown()
    _check_device(path)
    # Read once, at the first use of such a device; the default is ten seconds.
    timeout_s = max(1, math.ceil(options.stall_after))
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(timeout_s))
    return LiveSource(
        OpenCvDevice(str(path), cv2.CAP_V4L2, parameters, controls),
        name=printable_path(path),
        stall_after=options.stall_after,
        check=_CHECK,
    )


def _format_from_options(options: OpenOptions) -> tuple[int, ...]:
    size, fps = options.size("size"), options.number("fps", low=0.1, high=1000)
    letters = options.text("format")
    if letters is not None and not (len(letters) == 4 and letters.isascii()):
        raise SourceError(f"{options.name}: format must be four letters, such as MJPG or YUYV")
    if letters is None and size is not None:
        letters = "MJPG"  # uncompressed video of this size seldom fits through USB
    parameters: list[int] = []
    if letters is not None:
        parameters += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*letters)]
    if size is not None:
        parameters += [cv2.CAP_PROP_FRAME_WIDTH, size[0], cv2.CAP_PROP_FRAME_HEIGHT, size[1]]
    if fps is not None:
        parameters += [cv2.CAP_PROP_FPS, max(1, round(fps))]
    return tuple(parameters)


def _exposure_from_options(options: OpenOptions) -> tuple[tuple[str, int, float], ...]:
    exposure_ms = options.number("exposure_ms", low=0.1, high=60_000)
    automatic = options.flag("auto_exposure")
    if exposure_ms is not None:
        if automatic:
            raise SourceError(f"{options.name}: exposure_ms has no effect with auto_exposure=on")
        automatic = False
    controls: list[tuple[str, int, float]] = []
    if automatic is not None:
        mode = _APERTURE_PRIORITY if automatic else _MANUAL
        controls.append(("auto_exposure", cv2.CAP_PROP_AUTO_EXPOSURE, mode))
    if exposure_ms is not None:
        ticks = max(1, round(exposure_ms * _PER_MS))
        controls.append(("exposure_ms", cv2.CAP_PROP_EXPOSURE, ticks))
    return tuple(controls)


def _controls_from_options(options: OpenOptions) -> tuple[tuple[str, int, float], ...]:
    switches = {word: options.flag(word) for word in _SWITCHES}
    values = {word: options.number(word, low=-_LIMIT, high=_LIMIT) for word in _VALUES}
    for word, switch in _OFF_BEFORE.items():
        if values[word] is not None:
            if switches[switch]:
                raise SourceError(f"{options.name}: {word} has no effect with {switch}=on")
            switches[switch] = False
    return (
        *((w, _SWITCHES[w], float(on)) for w, on in switches.items() if on is not None),
        *((w, _VALUES[w], value) for w, value in values.items() if value is not None),
    )


def _check_device(path: Path) -> None:
    if not path.exists():
        raise SourceError(f"{printable_path(path)}: no such camera; present: {_list_devices()}")
    if not path.is_char_device():
        raise SourceError(f"{printable_path(path)}: not a camera device; name /dev/videoN")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(
            f"{printable_path(path)}: no permission; run `sudo usermod -aG video $USER` and log in "
            "again"
        )


def _list_devices() -> str:
    """The cameras that are there; those with a lasting name by it."""
    named = sorted(_BY_ID.iterdir()) if _BY_ID.is_dir() else []
    linked = {link.resolve() for link in named}
    plain = sorted(path for path in Path("/dev").glob("video*") if path not in linked)
    return ", ".join(printable_path(path) for path in (*named, *plain)) or "none"
