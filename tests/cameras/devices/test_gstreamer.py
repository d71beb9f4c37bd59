"""Pipelines with the real GStreamer, where OpenCV has it: Debian's and a Jetson's do."""

from __future__ import annotations

import cv2
import pytest

from cameras.connect import open_source
from cameras.devices.gstreamer import _is_built_with_gstreamer
from cameras.errors import CameraError, SourceError

HAS = cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER) and _is_built_with_gstreamer()
LIVE = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1"


@pytest.mark.skipif(not HAS, reason="this OpenCV has no GStreamer, as that of PyPI")
@pytest.mark.parametrize(
    "pipeline",
    [LIVE, f"{LIVE} ! videoconvert ! video/x-raw,format=GRAY8 ! appsink drop=true max-buffers=1"],
)
def test_a_pipeline_delivers_its_newest_frames(pipeline) -> None:
    with open_source(f"gst:{pipeline}", stall_after=5) as source:
        assert source.live
        frames = [frame for frame, _ in zip(source, range(10), strict=False)]
    assert all(frame.image.shape == (240, 320, 3) for frame in frames)


@pytest.mark.skipif(not HAS, reason="this OpenCV has no GStreamer, as that of PyPI")
def test_a_pipeline_that_does_not_start_is_an_error() -> None:
    with pytest.raises(CameraError, match="gst-launch"):
        open_source("gst:filesrc location=/nowhere ! appsink")


@pytest.mark.skipif(HAS, reason="this OpenCV has GStreamer")
@pytest.mark.parametrize("source", ["csi://0", f"gst:{LIVE} user-pw=Zq9secret"])
def test_without_gstreamer_it_is_said_where_to_get_it(source) -> None:
    with pytest.raises(SourceError, match="built without GStreamer; use the system's") as caught:
        open_source(source)
    assert "Zq9secret" not in str(caught.value)
