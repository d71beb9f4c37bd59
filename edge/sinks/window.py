"""Results in a window on the screen."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from contextlib import AbstractContextManager

import cv2

from edge.result import Image, Result
from edge.sinks.losses import LossCounter
from edge.sinks.sink import Paint, Painter, SinkError

_TITLE = "edge: q or Esc ends"
_PROBE = "import cv2; cv2.namedWindow('edge'); cv2.waitKey(1); cv2.destroyAllWindows()"
_KEYS = {ord("q"), ord("Q"), 27}


class WindowSink(AbstractContextManager["WindowSink"]):
    """A window with the newest result.

    `write` draws, in the thread of the sinks; `poll` shows, in the thread that made this object,
    since windows belong to one thread.

    Args:
        paint: draws; share one between sinks so that each result is drawn once.
        camera: whose results, for the title; windows of several cameras need several names.

    Raises:
        SinkError: no display, or this OpenCV has no windows.
    """

    lossless = False

    def __init__(self, *, paint: Paint | None = None, camera: str = "") -> None:
        _require_display()
        self.losses = LossCounter("window", "pictures", counts_skipped=False)
        self._paint = paint or Painter()
        self._title = f"{camera}, {_TITLE}" if camera else _TITLE
        self._newest: Image | None = None
        self._closed = False
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False

    def write(self, result: Result) -> None:
        """Draw a result; the window shows it at the next `poll`."""
        self.show(self._paint(result))

    def show(self, picture: Image) -> None:
        """Show a picture at the next `poll`."""
        self._newest = picture

    def poll(self) -> bool:
        """Show what is newest; tell whether the user wants to go on (no q, Esc or closing)."""
        if self._closed:
            return False
        picture, self._newest = self._newest, None
        if picture is not None:
            if not self._sized:
                cv2.resizeWindow(self._title, *_fitting(picture.shape[1], picture.shape[0]))
                self._sized = True
            cv2.imshow(self._title, picture)
        ended = cv2.waitKey(1) & 0xFF in _KEYS
        ended = ended or (
            self._sized and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        )
        if ended:
            self.close()
        return not ended

    def close(self) -> None:
        """Close the window; a second call does nothing."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(cv2.error):  # the user may have closed it
                cv2.destroyWindow(self._title)

    def __exit__(self, *_: object) -> None:
        self.close()


def _fitting(width: int, height: int) -> tuple[int, int]:
    """Return a window's size: at least 640 wide, at most what a common screen shows."""
    scale = min(1280 / width, 800 / height, max(1.0, 640 / width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _require_display() -> None:
    """Refuse before OpenCV would: without a display that answers it ends the whole process.

    Raises:
        SinkError: no window can be opened here.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SinkError("no display here; leave --show out, or record with --record out.mp4")
    if not cv2.currentUIFramework():
        raise SinkError("this OpenCV has no windows (headless build); install opencv-python")
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        raise SinkError("the display does not answer; leave --show out") from None
    if probe.returncode != 0:
        name = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        raise SinkError(f"no window can be opened on display {name}; leave --show out")
