"""A picture on demand from a live camera that is watched all the time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cameras.closing import Closing
from cameras.errors import CameraError
from cameras.frame import Frame
from cameras.source import Source
from edge.health.checks import Health
from edge.health.frozen import CameraHealth

LOG = logging.getLogger("edge.plc.station")
CLOSE_S = 1.0


class Grabber(Closing):
    """Reads a live source in a thread, so that a picture that no longer changes is known.

    Whoever looks at a camera only when a part is there would see five parts before the fifth
    picture that repeats is evidence. Only the picture that is waited for is kept: its memory is
    one of a few places that the camera writes to.

    Args:
        source: live and open; the caller closes it, before this object.
        health: of the inspector at work; see `CameraHealth`.
    """

    def __init__(self, source: Source, health: Callable[[], Health]) -> None:
        self._source = source
        self._camera = CameraHealth(health, source)
        self._changed = threading.Condition()
        self._wanted_ns: int | None = None
        self._caught: Frame | None = None
        self._ended = False
        self._error: CameraError | None = None
        self._thread = threading.Thread(target=self._read, name="edge-grab", daemon=True)
        self._thread.start()

    def take(self, earliest_ns: int) -> Frame | None:
        """Wait for the first picture from `earliest_ns` on; None when no more will come.

        A frame without an image, because the camera is silent or its picture is no good, is an
        answer too.

        Args:
            earliest_ns: monotonic.

        Raises:
            CameraError: the camera stopped for good.
        """
        with self._changed:
            self._wanted_ns, self._caught = earliest_ns, None
            self._changed.wait_for(lambda: self._caught is not None or self._ended)
            frame, self._caught, self._wanted_ns = self._caught, None, None
            if frame is None and self._error is not None:
                raise self._error
            return frame

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            LOG.warning("%s: hangs, and is left to itself", self._source.name)

    def _read(self) -> None:
        try:
            for frame in self._source:
                self._offer(self._camera.seen(frame))
        except CameraError as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _offer(self, frame: Frame) -> None:
        with self._changed:
            if self._wanted_ns is None or self._caught is not None:
                return
            if frame.image is None or frame.monotonic_ns >= self._wanted_ns:
                self._caught = frame
                self._changed.notify_all()
