"""Files that play as a camera: ``replay:FILE``, at their pace, over and over."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cameras.capture.source import LiveSource
from cameras.errors import CameraError
from cameras.files.path import open_path
from cameras.options import OpenOptions
from cameras.redaction import printable_path

_RATE_HZ = 30.0
_MAX_MIB = 1024.0


def open_replay(path: Path, options: OpenOptions) -> LiveSource:
    """Play a video, a picture or a folder as a camera would deliver it, over and over.

    It is read into memory first, so that its pace is its own; frames that come too fast are
    dropped and counted, as a camera's are.

    Args:
        path: what `cameras.files.path.open_path` takes.
        options: ``fps`` (default: the file's own rate, or 30), ``max_mib`` of memory (1024).

    Raises:
        SourceError: nothing there, or a wrong option.
        CameraError: no picture in it, or more than fits.
    """
    fps = options.number("fps", low=0.01, high=10_000)
    max_mib = options.number("max_mib", low=1, high=1 << 20) or _MAX_MIB
    options.refuse_unknown()
    with open_path(
        path, bit_depth=options.bit_depth
    ):  # what is wrong with it is said at once, and without a second process
        pass
    return LiveSource(
        ReplayDevice(str(path.absolute()), fps or 0.0, max_mib, options.bit_depth),
        name=f"replay:{printable_path(path)}",
        stall_after=options.stall_after,
        check="that the file is whole",
        repeats=True,
    )


@dataclass(frozen=True, slots=True)
class ReplayDevice:
    """A file that plays as a camera; see `Device`.

    Attributes:
        path: video, image, folder or glob.
        rate_hz: frames per second; 0 = the file's own, or 30.
        max_mib: of memory for its pictures.
        bit_depth: of the values in 16-bit files; None is all 16.
    """

    path: str
    rate_hz: float
    max_mib: float
    bit_depth: int | None = None

    def open(self) -> ReplayCamera:
        """See `Device.open`."""
        images: list[npt.NDArray[np.uint8]] = []
        left = self.max_mib * (1 << 20)
        with open_path(Path(self.path), bit_depth=self.bit_depth) as source:
            rate_hz = self.rate_hz or source.rate_hz or _RATE_HZ
            for frame in source:
                if frame.image is None:
                    continue
                left -= frame.image.nbytes
                if left < 0:
                    raise CameraError(f"is more than {self.max_mib:g} MiB; raise max_mib, or cut")
                images.append(frame.image)
        if not images:
            raise CameraError("has no picture that can be read")
        return ReplayCamera(images, rate_hz)


class ReplayCamera:
    """Pictures in memory that come at a rate, for ever; see `Opened`."""

    patience_s: float | None = None
    trouble = ""

    def __init__(self, images: list[npt.NDArray[np.uint8]], rate_hz: float) -> None:
        self.rate_hz: float | None = rate_hz
        self._period_s = 1 / rate_hz
        self._images = images
        self._began_s = time.monotonic()
        self._number = -1

    def grab(self) -> bool:
        """See `Opened.grab`: wait until the next picture is due; those missed are skipped."""
        now_s = time.monotonic()
        due = int((now_s - self._began_s) / self._period_s)
        self._number = max(self._number + 1, due)
        time.sleep(max(0.0, self._began_s + self._number * self._period_s - now_s))
        return bool(self._images)

    def retrieve(self, into: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
        """See `Opened.retrieve`."""
        if not self._images:
            return None
        image = self._images[self._number % len(self._images)]
        if into is None or into.shape != image.shape:
            return image.copy()
        np.copyto(into, image)
        return into

    def close(self) -> None:
        """See `Opened.close`."""
        self._images = []
