"""CSI cameras of a Jetson, ``csi://0``, and any pipeline, ``gst:…``, if OpenCV has GStreamer."""

from __future__ import annotations

import cv2

from cameras.capture.source import LiveSource
from cameras.devices.opencv import OpenCvDevice
from cameras.errors import SourceError
from cameras.options import OpenOptions
from cameras.redaction import redact_address, redact_pipeline

_SIZE = (1920, 1080)
_RATE_HZ = 30.0
_END = "appsink drop=true max-buffers=1 sync=false"


def open_csi(address: str, options: OpenOptions) -> LiveSource:
    """Open a CSI camera by its sensor number.

    Args:
        address: ``csi://N``.
        options: ``size`` and ``fps`` that the sensor delivers (1920x1080, 30), ``crop`` (of it, as
            X,Y,WIDTH,HEIGHT), ``flip`` (0 to 7, nvvidconv's flip-method), ``scale`` (the size of
            the frames), ``exposure_ms`` and ``gain`` (by hand).

    Raises:
        SourceError: not a number, a wrong option, or this OpenCV has no GStreamer (that of PyPI
            never has).
        CameraError: the sensor does not deliver.
    """
    sensor = address.removeprefix("csi://")
    if not (sensor.isascii() and sensor.isdigit() and len(sensor) <= 3):
        raise SourceError(
            f"{redact_address(address)}: the sensor's number is missing; write csi://0"
        )
    pipeline = pipeline_from_sensor(int(sensor), options)
    options.refuse_unknown()
    _require_gstreamer(address)
    return LiveSource(
        OpenCvDevice(pipeline, cv2.CAP_GSTREAMER),
        name=address,
        stall_after=options.stall_after,
        check="the ribbon cable, the sensor's mode, and `systemctl restart nvargus-daemon`",
    )


def pipeline_from_sensor(sensor: int, options: OpenOptions) -> str:
    """Return the pipeline: the image processor's NV12 becomes BGR, the newest frame wins.

    What is cropped and scaled is so by the image processor, in its own memory: the CPU gets, and
    converts, the pixels that are left.

    Source: Jetson Linux Developer Guide, "Accelerated GStreamer" (nvarguscamerasrc, nvvidconv).

    Raises:
        SourceError: a wrong option.
    """
    width, height = size = options.size("size") or _SIZE
    rate_hz = options.number("fps", low=0.1, high=1000) or _RATE_HZ
    crop, flip = _crop(options, size), options.whole("flip", low=0, high=7) or 0
    scale = options.size("scale")
    exposure_ms = options.number("exposure_ms", low=0.001, high=10_000)
    gain = options.number("gain", low=0, high=1000)
    ours = f"nvarguscamerasrc sensor-id={sensor}"
    if exposure_ms is not None:
        nanoseconds = round(exposure_ms * 1_000_000)
        ours += f' exposuretimerange="{nanoseconds} {nanoseconds}"'
    if gain is not None:
        ours += f' gainrange="{gain:g} {gain:g}"'
    return (
        f"{ours} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},format=NV12,"
        f"framerate={round(rate_hz * 1000)}/1000 ! {crop}"
        f"nvvidconv flip-method={flip} ! video/x-raw,"
        f"{'width={},height={},'.format(*scale) if scale else ''}format=BGRx ! "
        f"videoconvert ! video/x-raw,format=BGR ! {_END}"
    )


def _crop(options: OpenOptions, size: tuple[int, int]) -> str:
    """The element that cuts out a rectangle, before anything is turned; empty without one."""
    box = options.box("crop", within=size)
    if box is None:
        return ""
    left, top, width, height = box
    return (
        f"nvvidconv left={left} right={left + width} top={top} bottom={top + height} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},format=NV12 ! "
    )


def open_pipeline(address: str, options: OpenOptions) -> LiveSource:
    """Open a GStreamer pipeline.

    Args:
        address: ``gst:`` and a pipeline as gst-launch-1.0 takes it. Without an ``appsink`` at its
            end, the conversion to BGR and one that keeps the newest frame are appended.
        options: it takes no words.

    Raises:
        SourceError: no pipeline, a word, or this OpenCV has no GStreamer (that of PyPI never has).
        CameraError: it does not start.
    """
    options.refuse_unknown()
    pipeline = address.partition(":")[2].strip().strip("!").strip()
    name = f"gst:{redact_pipeline(pipeline)}"
    if not pipeline:
        raise SourceError("gst: without a pipeline; write 'gst:v4l2src device=/dev/video0'")
    _require_gstreamer(name)
    if "appsink" not in pipeline:
        pipeline = f"{pipeline} ! videoconvert ! video/x-raw,format=BGR ! {_END}"
    return LiveSource(
        OpenCvDevice(pipeline, cv2.CAP_GSTREAMER),
        name=name,
        stall_after=options.stall_after,
        check="the pipeline with gst-launch-1.0, with fakesink in place of its appsink",
    )


def _require_gstreamer(name: str) -> None:
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER) and _is_built_with_gstreamer():
        return
    raise SourceError(
        f"{name}: this OpenCV {cv2.__version__} was built without GStreamer; use the system's "
        "(apt install python3-opencv, virtual environment with --system-site-packages, no "
        "opencv-python in it)"
    )


def _is_built_with_gstreamer() -> bool:
    """Tell whether the backend is in this build, which the registry does not know for plug-ins."""
    lines = cv2.getBuildInformation().splitlines()
    return any("GStreamer" in line and "YES" in line for line in lines)
