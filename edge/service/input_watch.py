"""What only many results tell of a camera: that scores drift, or that pictures are of another kind.

It changes no verdict. What it finds is in each result, on the page, in `/metrics` and, once, in
the log.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cameras.frame import Frame
from edge.health.drift import DriftDetector
from edge.health.unlike import UnlikeDetector
from edge.inspection.held_out import scores_of_record
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import Inspector
from edge.result import Result
from engines.changes import built_roi
from engines.errors import EngineError

LOG = logging.getLogger("edge.service.input_watch")
APART_S = 1.0  # between two pictures of a running camera that count as parts
_THUMBNAIL = (16, 16)
_EVERY = 16  # px: rows and columns that a thumbnail is made of
_OTHER = 2.0  # grey levels by which the thumbnail of another part differs
_NS = 1e9


class InputWatch:
    """Watches one camera's pictures and scores; one thread adds, any may read.

    Args:
        name: of the camera, for the log; may be empty.
        inspector: judges them; when another takes over, all begins anew.
        running: frames come by themselves, so that many of them show one part: then at most one a
            second counts, and none that looks like the last one that did.
        rate_hz: of a video, whose frames are not seconds apart when they are read.
    """

    def __init__(
        self,
        name: str,
        inspector: HotSwapInspector,
        *,
        running: bool = False,
        rate_hz: float | None = None,
    ) -> None:
        self._name = name
        self._inspector = inspector
        self._running = running
        self._rate_hz = rate_hz
        self._watched: Inspector | None = None
        self._drift = DriftDetector(np.zeros(0))
        self._unlike = UnlikeDetector(None)
        self._counted: tuple[float, npt.NDArray[np.float32]] | None = None
        self._told: dict[str, str] = {}

    def add(self, frame: Frame, result: Result) -> Result:
        """Take a result; return it with the state of drift."""
        self._follow_inspector()
        if frame.image is not None and frame.image.ndim == 3:
            self._tell("source", self._unlike.add(frame.image), self._unlike.reason)
            if result.score is not None and self._is_new_part(frame):
                before = self._drift.state
                self._drift.add(result.score)
                if self._drift.state is not before:
                    self._tell("drift", self._drift.describe(), str(self._drift.state))
        return dataclasses.replace(result, drift=str(self._drift.state))

    @property
    def troubles(self) -> list[str]:
        """What is amiss, in words."""
        return [text for text in (self._drift.describe(), self._unlike.reason) if text]

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        return {"drift": self._drift.to_json(), "other_source": self._unlike.reason}

    def _follow_inspector(self) -> None:
        try:
            inspector = self._inspector.inspector
        except EngineError:  # it is closed: the last results come in
            return
        if inspector is self._watched:
            return
        self._watched = inspector
        manifest, settings = inspector.bundle.manifest, inspector.settings
        learnt = built_roi(manifest)
        # Scores of another part of the picture, or of less of it, are not those of the build.
        alike = settings.ignore is None and settings.roi == (learnt.box if learnt else None)
        known = manifest.held_out if alike else None
        self._drift = DriftDetector(np.zeros(0) if known is None else scores_of_record(known))
        self._unlike = UnlikeDetector(manifest.health)
        self._counted = None

    def _is_new_part(self, frame: Frame) -> bool:
        if not self._running or frame.image is None:
            return True
        now = frame.index / self._rate_hz if self._rate_hz else frame.monotonic_ns / _NS
        if self._counted is not None and 0 <= now - self._counted[0] < APART_S:
            return False
        some = np.ascontiguousarray(frame.image[::_EVERY, ::_EVERY]).astype(np.float32)
        small = cv2.resize(some, _THUMBNAIL, interpolation=cv2.INTER_AREA)
        thumbnail = np.asarray(small, np.float32)
        before = None if self._counted is None else self._counted[1]
        if before is not None and float(np.abs(thumbnail - before).mean()) < _OTHER:
            return False
        self._counted = now, thumbnail
        return True

    def _tell(self, what: str, text: str, key: str) -> None:
        """Log what has changed, once."""
        if self._told.get(what, "") == (key if text else ""):
            return
        self._told[what] = key if text else ""
        name = f"{self._name}: " if self._name else ""
        if text:
            LOG.warning("%s%s", name, text)
        else:
            LOG.info("%s%s is over", name, what)
