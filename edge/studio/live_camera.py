"""What a camera sees while it is set up, and pictures of good parts that are taken from it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from calibrate.images import fit_image
from calibrate.likeness.same import is_same
from calibrate.likeness.sketches import Sketch, sketch_of
from cameras.connect import open_source
from cameras.errors import ImageError
from cameras.frame import Frame
from edge.capturing.choosers import Chooser, WhenChanged, every_seconds
from edge.capturing.folder import PictureFolder
from edge.capturing.hints import BLURRED, DARK, LIGHT, WHITE
from edge.checking.video_frames import size_to_compare
from edge.health.measurements import ImageStatsReader
from edge.options import CameraSection
from edge.result import Image, Roi
from edge.sinks.pictures import jpeg_from_image, png_from_image, write_whole
from edge.sinks.sink import SinkError, name_from_frame
from edge.studio.refusals import RefusalError
from process.threads import GuardedThread

UNWATCHED_S = 20.0
"""After which a camera that nobody looks at is released, so that a line can have it."""
AGAIN_S = 3.0
"""Before one that failed is opened again."""
MEASURED_S = 0.25
SHOWN_SIDE = 960  # px
SHOWN_QUALITY = 80
COMPARED = 10  # of the last pictures
_FILE_S = 0.2  # between two pictures of a source that is no camera
_END_S = 10.0
How = Literal["key", "seconds", "change"]


@dataclass(slots=True)
class Capturing:
    """Pictures that go to a set.

    Attributes:
        name: of the set.
        folder: of the set, nobody else's meanwhile.
        how: what chooses them.
        count: after so many it ends.
        choose: of frames; None: by a key alone.
        saved: so many are on the disk.
        alike: so many of them show what one shortly before shows.
        error: why it ended; empty if it did not, or has all.
        is_active: whether further ones are taken.
    """

    name: str
    folder: PictureFolder
    how: How
    count: int
    choose: Chooser | None
    saved: int = 0
    alike: int = 0
    error: str = ""
    is_active: bool = True
    sketches: list[Sketch] = field(default_factory=list)

    def end(self, error: str = "") -> None:
        """Take no more pictures, and let others have the set."""
        if self.is_active:
            self.error, self.is_active = error, False
            self.folder.close()

    def to_json(self) -> dict[str, Any]:
        """As the page has it."""
        names = ("name", "how", "count", "saved", "alike", "error", "is_active")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class LightAndFocus:
    """What is measured on the newest picture.

    Attributes:
        sharpness: of it; see `edge.health.measurements.ImageStats`.
        best: the highest since the camera was opened.
        light: mean grey level.
        white: share of pixels that are burnt out.
    """

    sharpness: float
    best: float
    light: float
    white: float

    def to_json(self) -> dict[str, Any]:
        """As the page has it, with what is amiss: ``dark``, ``burnt``, ``blurred``."""
        hints = []
        if self.light < DARK:
            hints.append("dark")
        if self.light > LIGHT or self.white > WHITE:
            hints.append("burnt")
        if self.sharpness < BLURRED * self.best:
            hints.append("blurred")
        names = ("sharpness", "best", "light", "white")
        return {name: round(getattr(self, name), 4) for name in names} | {"hints": hints}


class LiveCamera:
    """One camera at a time, as long as somebody looks at it or pictures are taken; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turn = threading.Lock()  # of whoever opens or closes
        self._thread: GuardedThread | None = None
        self._stop = threading.Event()
        self._name = self._reason = ""
        self._roi: Roi | None = None
        self._asked_s = self._again_s = 0.0
        self._frame: Frame | None = None
        self._frames = self._wanted = 0
        self._measured: LightAndFocus | None = None
        self._capturing: Capturing | None = None

    def look(self, name: str, section: CameraSection) -> None:
        """Say that somebody looks at a camera; another one that is open is closed.

        Raises:
            RefusalError: pictures are taken from another one.
        """
        with self._lock:
            self._asked_s = time.monotonic()
            if self._name == name and self._thread is not None:
                waits = time.monotonic() < self._again_s
                if waits or self._thread.is_alive():
                    return
            if self.is_capturing:
                raise RefusalError("camera.capturing")
        with self._turn:
            self._close()
            with self._lock:
                self._name, self._reason, self._frame, self._frames = name, "", None, 0
                self._again_s = 0.0
                self._roi, self._measured, self._stop = section.roi, None, threading.Event()
                follow = partial(self._follow, section, self._stop)
                self._thread = GuardedThread(follow, name="edge-studio-camera", goes_on=False)
                self._thread.start()

    @property
    def is_capturing(self) -> bool:
        """Whether pictures are taken."""
        with self._lock:
            return self._capturing is not None and self._capturing.is_active

    def close(self) -> None:
        """Release the camera; pictures are no longer taken."""
        with self._turn:
            self._close()

    def picture(self) -> bytes | None:
        """The newest picture, JPEG, so large as a page shows it; None before the first."""
        with self._lock:
            frame = self._frame
        if frame is None or frame.image is None:
            return None
        height, width = frame.image.shape[:2]
        scale = min(1.0, SHOWN_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        return jpeg_from_image(np.asarray(small, np.uint8), quality=SHOWN_QUALITY)

    def state(self) -> dict[str, Any]:
        """What is known of it, as the page has it."""
        with self._lock:
            frame = self._frame
            has_image = frame is not None and frame.image is not None
            return {
                "name": self._name,
                "is_open": self._thread is not None and self._thread.is_alive(),
                "reason": self._reason,
                "frames": self._frames,
                "size": [*frame.image.shape[1::-1]] if frame and frame.image is not None else None,
                "age_s": (time.monotonic_ns() - frame.monotonic_ns) / 1e9 if frame else None,
                "measured": self._measured.to_json() if self._measured and has_image else None,
                "capturing": self._capturing.to_json() if self._capturing else None,
            }

    def check_ready(self) -> None:
        """See that pictures can be taken.

        Raises:
            RefusalError: no camera is open, or pictures are taken already.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                raise RefusalError("camera.none_open")
            if self.is_capturing:
                raise RefusalError("camera.capturing")

    def capture(self, name: str, folder: Path, how: How, *, seconds: float, count: int) -> None:
        """Take pictures from now on.

        Args:
            name: of the set.
            folder: of it; it is there.
            how: what chooses frames.
            seconds: between two, where that is what chooses.
            count: after so many it ends.

        Raises:
            RefusalError: no camera is open, pictures are taken already, or the folder refuses.
        """
        with self._lock:
            self.check_ready()
            ways: dict[How, Chooser] = {
                "seconds": every_seconds(seconds),
                "change": WhenChanged(self._roi),
            }
            try:
                place = PictureFolder(folder)
            except SinkError as error:
                raise RefusalError("studio.disk", reason=str(error)) from error
            self._wanted = 0
            self._capturing = Capturing(name, place, how, count, ways.get(how))

    def shoot(self) -> None:
        """Take the next picture, whatever chooses the others.

        Raises:
            RefusalError: pictures are not taken.
        """
        with self._lock:
            if self._capturing is None or not self._capturing.is_active:
                raise RefusalError("camera.not_capturing")
            self._wanted += 1

    def end_capture(self) -> None:
        """Take no more pictures."""
        with self._lock:
            if self._capturing is not None:
                self._capturing.end()

    def _close(self) -> None:
        self.end_capture()
        thread = self._thread
        self._stop.set()
        if thread is not None:
            thread.join(_END_S)

    def _follow(self, section: CameraSection, stop: threading.Event) -> None:
        """Take frames until nobody wants them any more."""
        try:
            with open_source(
                section.source,
                stall_after=section.stall_after,
                options=section.options,
                bit_depth=section.bit_depth,
            ) as source:
                looker = _PictureLooker(section)
                for frame in source:
                    if stop.is_set() or self._is_unwatched():
                        return
                    self._take(frame, looker)
                    if not source.live and stop.wait(_FILE_S):
                        return
        except (ValueError, RuntimeError, OSError) as error:
            self._end(str(error))
        else:
            self._end("")

    def _is_unwatched(self) -> bool:
        with self._lock:
            return not self.is_capturing and time.monotonic() - self._asked_s > UNWATCHED_S

    def _end(self, reason: str) -> None:
        """Note why no more pictures come."""
        with self._lock:
            self._again_s = time.monotonic() + AGAIN_S
            self._reason = reason
            if self._capturing is not None:
                self._capturing.end(reason or "-")

    def _take(self, frame: Frame, looker: _PictureLooker) -> None:
        measured = None
        if frame.image is not None and looker.is_due():
            measured = looker.measure(frame.image)
        with self._lock:
            self._frame, self._reason = frame, frame.reason
            self._frames += 1
            self._measured = measured or self._measured
            capturing = self._capturing
            if frame.image is None or capturing is None or not capturing.is_active:
                return
            is_chosen = capturing.choose is not None and capturing.choose(frame)
            if not is_chosen and self._wanted == 0:
                return
            self._wanted = max(0, self._wanted - 1)
        self._save(frame, capturing, looker)

    def _save(self, frame: Frame, capturing: Capturing, looker: _PictureLooker) -> None:
        assert frame.image is not None
        name = name_from_frame(frame.captured_at_ns, frame.index)
        try:
            capturing.folder.check_size((frame.image.shape[0], frame.image.shape[1]))
            write_whole(capturing.folder.free_place(name, ()), png_from_image(frame.image))
        except (OSError, SinkError) as error:
            with self._lock:
                capturing.end(str(error))
            return
        sketch = looker.sketch(frame.image)
        alike = any(is_same(sketch, one) for one in capturing.sketches if one.shape == sketch.shape)
        with self._lock:
            capturing.sketches = [*capturing.sketches[1 - COMPARED :], sketch]
            capturing.saved += 1
            capturing.alike += alike
            if capturing.saved >= capturing.count:
                capturing.end()


class _PictureLooker:
    """Measures pictures as they come; one thread calls.

    Args:
        section: of the camera, with the region that is inspected.
    """

    def __init__(self, section: CameraSection) -> None:
        self._roi = section.roi
        self._reader: ImageStatsReader | None = None
        self._best = 0.0
        self._due_s = 0.0

    def is_due(self) -> bool:
        """Whether the next picture is to be measured."""
        return time.monotonic() >= self._due_s

    def measure(self, image: Image) -> LightAndFocus:
        """Light and focus of a picture."""
        self._due_s = time.monotonic() + MEASURED_S
        fitted = self._fit(image)
        if self._reader is None or self._reader.size != fitted.shape[:2]:
            self._reader = ImageStatsReader((fitted.shape[0], fitted.shape[1]))
            self._best = 0.0
        stats = self._reader.read(fitted)
        self._best = max(self._best, stats.sharpness)
        return LightAndFocus(stats.sharpness, self._best, float(stats.light.mean()), stats.white)

    def sketch(self, image: Image) -> Sketch:
        """What tells whether two pictures show one thing."""
        return sketch_of(self._fit(image))

    def _fit(self, image: Image) -> Image:
        """The part that is inspected; all of it where that does not lie in the picture."""
        height, width = image.shape[:2] if self._roi is None else (self._roi[3], self._roi[2])
        try:
            return fit_image(image, size_to_compare(height, width), self._roi)
        except ImageError:
            return fit_image(image, size_to_compare(*image.shape[:2]), None)
