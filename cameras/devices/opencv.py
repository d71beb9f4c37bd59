"""Cameras that OpenCV opens: V4L2 and GStreamer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cameras.errors import CameraError
from cameras.image_files import image_from_bytes

_JPEGS = tuple(cv2.VideoWriter.fourcc(*letters) for letters in ("MJPG", "JPEG"))


@dataclass(frozen=True, slots=True)
class OpenCvDevice:
    """How OpenCV opens one camera.

    Attributes:
        target: path, address or pipeline, as OpenCV takes it; may contain credentials.
        backend: ``cv2.CAP_...``.
        parameters: alternating ``cv2.CAP_PROP_...`` and value, at opening. Timeouts count only
            here, not when they are set later.
        controls: name, ``cv2.CAP_PROP_...`` and value of what is set after opening, in order;
            a camera that refuses one is not used.
    """

    target: str
    backend: int
    parameters: tuple[int, ...] = ()
    controls: tuple[tuple[str, int, float], ...] = ()

    def open(self) -> OpenCvCamera:
        """See `Device.open`."""
        capture = cv2.VideoCapture()
        try:
            opened = capture.open(self.target, self.backend, self.parameters)
        except cv2.error:
            opened = False
        if not opened:
            capture.release()
            raise CameraError("does not answer")
        jpegs = self.backend == cv2.CAP_V4L2 and _is_coded_as_jpeg(capture)
        try:
            for name, number, value in self.controls:
                _set_control(capture, name, number, value)
        except CameraError:
            capture.release()
            raise
        return OpenCvCamera(capture, takes_jpegs=jpegs)


class OpenCvCamera:
    """An open camera; see `Opened`.

    Args:
        capture: open; released by `close`.
        takes_jpegs: whether it delivers JPEGs. They are then taken as they are, and decoded by the
            function that reads image files: OpenCV fills a cut one with grey and says nothing.
    """

    patience_s: float | None = None
    trouble = ""

    def __init__(self, capture: cv2.VideoCapture, *, takes_jpegs: bool = False) -> None:
        self._capture = capture
        self._takes_jpegs = takes_jpegs
        rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
        self.rate_hz = rate_hz if 0.1 <= rate_hz <= 1000 else None

    def grab(self) -> bool:
        """See `Opened.grab`."""
        try:
            return self._capture.grab()
        except cv2.error:
            return False

    def retrieve(self, into: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
        """See `Opened.retrieve`; OpenCV converts colours straight into `into`."""
        try:
            good, image = self._capture.retrieve(None if self._takes_jpegs else into)
        except cv2.error:
            return None
        if not good or image is None:
            return None
        if self._takes_jpegs:
            return image_from_bytes(np.asarray(image, np.uint8).tobytes())
        if image.dtype != np.uint8:
            raise CameraError(f"delivers samples of type {image.dtype}; set it to 8 bits")
        if image is into:
            return into
        return bgr_from_picture(np.asarray(image, np.uint8))

    def close(self) -> None:
        """See `Opened.close`."""
        self._capture.release()


def bgr_from_picture(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) BGR of what a camera delivers: grey, BGR or BGR with alpha.

    Raises:
        CameraError: none of these.
    """
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.ndim == 3 and channels == 3:
        return image
    if image.ndim in (2, 3) and channels in (1, 4):
        code = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
        return np.asarray(cv2.cvtColor(image, code), np.uint8)
    raise CameraError(f"delivers pictures of shape {image.shape}; set it to colour or grey")


def _is_coded_as_jpeg(capture: cv2.VideoCapture) -> bool:
    """Tell whether a webcam delivers JPEGs, and have it hand them out undecoded."""
    letters = int(capture.get(cv2.CAP_PROP_FOURCC))
    if letters not in _JPEGS:
        return False
    if not capture.set(cv2.CAP_PROP_CONVERT_RGB, 0):
        capture.release()
        raise CameraError("hands out no JPEGs, of which a cut one could be told; use format=YUYV")
    return True


def _set_control(capture: cv2.VideoCapture, name: str, number: int, value: float) -> None:
    try:
        accepted = capture.set(number, value)
    except cv2.error:
        accepted = False
    if not accepted:
        raise CameraError(f"refuses {name}={value:g}; `v4l2-ctl --list-ctrls-menus` lists its own")
