"""A network camera as the process that captures sees it: of its packets, pictures are made."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import av.container
import av.error
import numpy as np
import numpy.typing as npt

from cameras.capture.device import NotYet
from cameras.demux.opening import OpenError, close_quietly, find_video, open_container
from cameras.demux.reader import CodedPicture, PictureReader
from cameras.errors import CameraError

_PATIENCE_S = 3.0  # for which a connection is kept while nothing comes
_LONE = "sends one picture, and no stream"
_FURTHER_S = (0.0, 3.0, 6.0, 12.0)  # for cameras that prove to be slow


@dataclass(slots=True)
class NetworkDevice:
    """How a network camera is opened; see `Device`.

    It learns in the process that captures, and waits longer for a camera that proves to be slow.

    Attributes:
        target: address; may contain credentials.
        ffmpeg: FFmpeg's options.
        open_timeout_s: in which it has to answer.
        stall_after_s: without a picture for so long, it is told to be stalled.
        slowness: how often it has proved to be slow.
    """

    target: str
    ffmpeg: tuple[tuple[str, str], ...]
    open_timeout_s: float
    stall_after_s: float
    slowness: int = 0

    def open(self) -> NetworkCamera:
        """See `Device.open`; a camera that only is slow is given more time at once."""
        while True:
            further_s = _FURTHER_S[self.slowness]
            patience_s = max(self.stall_after_s, _PATIENCE_S) + further_s
            try:
                container = open_container(
                    self.target,
                    dict(self.ffmpeg),
                    open_s=self.open_timeout_s + further_s,
                    read_s=patience_s,
                )
            except OpenError as error:
                if not error.is_slow or not self.learn_slowness():
                    raise
                continue
            try:
                return NetworkCamera(self, container, patience_s)
            except CameraError:
                close_quietly(container)
                raise

    def learn_slowness(self) -> bool:
        """Wait longer from now on; False if that is as long as it may be."""
        if self.slowness + 1 == len(_FURTHER_S):
            return False
        self.slowness += 1
        return True


class NetworkCamera:
    """An open network camera; see `Opened`."""

    def __init__(
        self, device: NetworkDevice, container: av.container.InputContainer, patience_s: float
    ) -> None:
        stream = find_video(container)
        rate_hz = float(stream.average_rate or 0)
        self.rate_hz = rate_hz if 0.1 <= rate_hz <= 1000 else None
        self.patience_s: float | None = patience_s
        self.trouble = ""
        self._device = device
        self._container = container
        self._reader = PictureReader(container, stream)
        self._is_lone = container.format.name.endswith("_pipe")
        self._ready: deque[CodedPicture] = deque()
        self._grabbed: CodedPicture | None = None

    def grab(self) -> bool:
        """See `Opened.grab`."""
        self._grabbed = None
        while not self._ready:
            needs_key = self._reader.needs_key
            try:
                pictures = self._reader.read()
            except StopIteration:
                self.trouble = _LONE if self._is_lone else ""
                return False
            except av.error.ExitError:
                if self._reader.packets < 2:
                    self._device.learn_slowness()
                self.trouble = "the pictures stopped"
                return False
            except av.error.FFmpegError:  # a server may close without having told a length
                self.trouble = _LONE if self._is_lone else ""
                return False
            # Before the first key frame, a decoder returns nothing that was filmed.
            if needs_key and self._reader.needs_key:
                raise NotYet(
                    "waiting for a key frame; set a shorter key frame interval in the camera"
                )
            self._ready.extend(pictures)
        self._grabbed = self._ready.popleft()
        return True

    def retrieve(self, into: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
        """See `Opened.retrieve`."""
        if self._grabbed is None:
            return None
        image = self._grabbed.image()
        if into is None or into.shape != image.shape:
            return image
        np.copyto(into, image)
        return into

    def close(self) -> None:
        """See `Opened.close`."""
        close_quietly(self._container)
