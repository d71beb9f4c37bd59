"""What only time tells of a camera: a picture that no longer changes, or has changed its size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from cameras.frame import Frame
from edge.health.checks import ImageChecks, check_from_reason
from edge.health.frozen import FreezeDetector
from edge.result import Inspect, Result, Verdict, error_from_frame


class FrameChecker:
    """Looks at every frame of one camera.

    Args:
        checks: of the inspector at work, asked for with each frame since another may take over;
            what they leave out is left out here, and pictures of the sizes of its good images may
            follow each other.
        source: where the frames come from. One that plays a recording over and over, which it
            tells by its attribute ``repeats``, is not frozen.
    """

    def __init__(self, checks: Callable[[], ImageChecks], source: object = None) -> None:
        self._checks = checks
        self._repeats = bool(getattr(source, "repeats", False))
        self._freeze = FreezeDetector()
        self._size: tuple[int, int] | None = None

    def find_problem(self, frame: Frame) -> str:
        """Return why the frame is no good, the check first; empty if nothing is known."""
        image = frame.image
        if image is None or image.ndim != 3 or 0 in image.shape:
            return ""
        checks = self._checks()
        if "size" not in checks.off:
            size = height, width = image.shape[:2]
            if self._size is None or (checks.record and size in checks.record.sizes):
                self._size = size
            if size != self._size:
                return (
                    f"size: the picture has {width}x{height} px, it had "
                    f"{self._size[1]}x{self._size[0]}; set the camera back, or start again if "
                    "this is meant"
                )
        if self._repeats or "frozen" in checks.off:
            return ""
        reason = self._freeze.find_problem(image, frame.monotonic_ns)
        return f"frozen: {reason}" if reason else ""

    def check(self, frame: Frame) -> Frame:
        """Return the frame, without its image and with the reason where that is no good."""
        problem = self.find_problem(frame)
        return dataclasses.replace(frame, image=None, reason=problem) if problem else frame

    def guard(self, inspect: Inspect) -> Inspect:
        """Return what judges frames as `inspect`, but those that are no good as ERROR."""

        def inspect_good_ones(frame: Frame) -> Result:
            problem = self.find_problem(frame)
            result = inspect(frame)
            if not problem:
                return result
            # A black picture that stays is above all black; one of another size is above all that.
            if result.verdict is Verdict.ERROR and check_from_reason(problem) != "size":
                return result
            return error_from_frame(frame, threshold=result.threshold, reason=problem)

        return inspect_good_ones
