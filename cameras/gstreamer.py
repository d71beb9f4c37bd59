"""CSI cameras of a Jetson: ``csi://0``, through an OpenCV that has GStreamer."""

from __future__ import annotations

import cv2

from cameras.capture import Device, LiveSource
from cameras.errors import SourceError

_SIZE = (1920, 1080)
_RATE_HZ = 30.0


def open_csi(
    address: str, *, stall_after: float, size: tuple[int, int] | None, rate_hz: float | None
) -> LiveSource:
    """Open a CSI camera by its sensor number.

    Args:
        address: ``csi://N``.
        stall_after: seconds without a frame that count as a stall.
        size: (width, height) that the sensor delivers; 1920 x 1080 when None.
        rate_hz: frames per second that the sensor delivers; 30 when None.

    Raises:
        SourceError: not a number, or this OpenCV has no GStreamer (that of PyPI never has).
        CameraError: the sensor does not deliver.
    """
    sensor = address.removeprefix("csi://")
    if not (sensor.isascii() and sensor.isdigit()):
        raise SourceError(f"{address}: the sensor's number is missing; write csi://0")
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER) or not _built_with_gstreamer():
        raise SourceError(
            f"{address}: this OpenCV {cv2.__version__} was built without GStreamer; on a Jetson "
            "use the system's (apt install python3-opencv, virtual environment with "
            "--system-site-packages, no opencv-python in it)"
        )
    pipeline = csi_pipeline(int(sensor), size=size or _SIZE, rate_hz=rate_hz or _RATE_HZ)
    return LiveSource(
        Device(pipeline, cv2.CAP_GSTREAMER),
        name=address,
        stall_after=stall_after,
        check="the ribbon cable, the sensor's mode, and `systemctl restart nvargus-daemon`",
    )


def csi_pipeline(sensor: int, *, size: tuple[int, int], rate_hz: float) -> str:
    """Return the pipeline: the image processor's NV12 becomes BGR, the newest frame wins.

    Source: Jetson Linux Developer Guide, "Accelerated GStreamer" (nvarguscamerasrc, nvvidconv).
    """
    width, height = size
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},format=NV12,"
        f"framerate={round(rate_hz * 1000)}/1000 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def _built_with_gstreamer() -> bool:
    """Tell whether the backend is in this build, which the registry does not know for plug-ins."""
    lines = cv2.getBuildInformation().splitlines()
    return any("GStreamer" in line and "YES" in line for line in lines)
