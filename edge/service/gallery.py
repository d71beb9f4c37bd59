"""Pictures for the page: what each camera shows now, and its last rejected parts.

Only encoded pictures are kept, never a frame: its memory is the camera's. Nothing is drawn while
nobody watches, and all cameras together may spend about a two-hundredth of the machine on it.
"""

from __future__ import annotations

import dataclasses
import math
import time
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np

from edge.drawing.overlay import draw
from edge.result import Image, Result, Roi, Verdict
from edge.service.http_routes import DrawnResult
from edge.service.shown_pictures import ShownPictures
from edge.sinks.kept_parts import drawn_picture
from edge.sinks.losses import LossCounter, RepeatFilter
from edge.sinks.pictures import jpeg_from_image
from edge.sinks.sink import RateMeter, name_from_result
from engines.cpu.processor import usable_cores

SHARE = 0.005
"""Of the machine's processors: what drawing and encoding may take, for all cameras together."""
LIVE_EVERY_S = 0.1
REJECT_EVERY_S = 0.5
MAX_SIDE = 960  # px: longest side of a picture
MAX_SIDE_OF_MANY = 640  # where the page shows several beside each other
MANY = 3
_QUALITY = 80  # of JPEG


class Galleries:
    """The galleries of all cameras, which share one budget of time; any thread may ask.

    Args:
        cpus: how many processors the machine may use; None asks it.
        keep: the folder of kept parts; None keeps none.
    """

    def __init__(self, *, cpus: float | None = None, keep: Path | None = None) -> None:
        self._share = SHARE * (usable_cores() if cpus is None else cpus)
        self._keep = keep
        self._of: dict[str, Gallery] = {}

    def gallery(self, camera: str, shown: ShownPictures | None = None) -> Gallery:
        """Make a camera's; a sink for its results.

        Args:
            camera: its name.
            shown: where its pictures are seen; None is here.
        """
        self._of[camera] = Gallery(self, camera, shown or ShownPictures())
        return self._of[camera]

    def live(self, camera: str, *, unless_id: str = "") -> tuple[DrawnResult, float] | None:
        """See `edge.service.http_routes.Pictures`."""
        return self._of[camera].shown.live(unless_id=unless_id)

    def rejects(self, camera: str) -> tuple[DrawnResult, ...]:
        """See `edge.service.http_routes.Pictures`."""
        return self._of[camera].shown.rejects()

    def kept(self, camera: str, name: str) -> bytes | None:
        """See `edge.service.http_routes.Pictures`."""
        return drawn_picture(self._keep, self._of[camera].camera, name)

    @property
    def side(self) -> int:
        """Longest side of live pictures, in px."""
        return MAX_SIDE if len(self._of) < MANY else MAX_SIDE_OF_MANY

    def pause_s(self, cost_s: float) -> float:
        """How long a camera draws nothing after a picture that cost so much processor time."""
        return cost_s * len(self._of) / self._share


class Gallery(AbstractContextManager["Gallery"]):
    """One camera's pictures: a `Sink`, made by `Galleries.gallery`.

    The live picture is drawn only while somebody watches. NG and ERROR results are drawn as they
    come, two a second at most, and a repeated ERROR once in ten seconds; the last twelve stay.
    """

    lossless = False
    alone = True  # what is there now is shown, also while a video hangs in its disk

    def __init__(self, shared: Galleries, camera: str, shown: ShownPictures) -> None:
        where = f"page, {camera}" if camera else "page"
        self.losses = LossCounter(where, "pictures", counts_skipped=False)
        self.camera, self.shown = camera, shown
        self._shared = shared
        self._rate = RateMeter()
        self._repeats = RepeatFilter()
        self._rested_s = self._live_due_s = self._reject_due_s = -math.inf
        self._pause_s = 0.0

    def write(self, result: Result) -> None:
        """Draw a result if somebody wants it and there is time; keep nothing else of it."""
        now = time.monotonic()
        rate_hz = self._rate.count(now)
        rejected = self._is_shown_as_reject(result, now)
        if not (rejected or self._is_shown_live(now)):
            return
        begun_s = time.thread_time()
        try:
            side = MAX_SIDE if rejected else self._shared.side
            picture = draw(shrink(result, side), rate_hz=rate_hz)
            jpeg = jpeg_from_image(picture, quality=_QUALITY)
        except (cv2.error, OSError) as error:
            self.losses.add(error)
            return
        finally:
            self._rest(now, cost_s=time.thread_time() - begun_s, rejected=rejected)
        self.losses.end_outage()
        name = name_from_result(result)
        seen_s = now - sum(result.speed.values()) / 1e3
        shown = DrawnResult(name, jpeg, result.verdict.value, seen_s, result.to_json())
        self.shown.put(shown, rejected=rejected)

    def __exit__(self, *_: object) -> None:
        """Do nothing: pictures can be seen until the monitor is closed."""

    def _is_shown_live(self, now: float) -> bool:
        return self.shown.is_watched(now) and now >= max(self._rested_s, self._live_due_s)

    def _is_shown_as_reject(self, result: Result, now: float) -> bool:
        """Whether it is one, and due: one pause may be cut short, so the first always is."""
        if result.verdict is Verdict.OK or now < self._reject_due_s:
            return False
        if self._rested_s - now > self._pause_s:
            return False
        return result.verdict is Verdict.NG or self._repeats.is_news(result.reason)

    def _rest(self, now: float, *, cost_s: float, rejected: bool) -> None:
        """Draw nothing until this picture has cost no more than its share of the time."""
        self._pause_s = self._shared.pause_s(cost_s)
        self._rested_s = max(self._rested_s, now) + self._pause_s
        self._live_due_s = now + LIVE_EVERY_S
        if rejected:
            self._reject_due_s = now + REJECT_EVERY_S


def shrink(result: Result, side: int) -> Result:
    """Return a result whose picture is no longer than a side, with regions and all to match.

    Drawing after this looks the same, since letters and lines follow the picture's size, and costs
    as little as the picture is large.

    Args:
        result: unchanged.
        side: longest, in px.
    """
    image = result.image
    if image is None or max(image.shape[:2]) <= side:
        return result
    small, scale = _shrink_image(image, side)
    size = (small.shape[1], small.shape[0])
    regions = []
    for region in result.regions:
        x, y, across, down = _scale_box(
            (region.x, region.y, region.width, region.height), scale, size
        )
        regions.append(dataclasses.replace(region, x=x, y=y, width=across, height=down))
    return dataclasses.replace(
        result,
        image=small,
        regions=tuple(regions),
        roi=None if result.roi is None else _scale_box(result.roi, scale, size),
    )


def _shrink_image(image: Image, side: int) -> tuple[Image, float]:
    """A picture no longer than a side, and its scale.

    To half and less it is reduced by a whole number, for which OpenCV is several times as quick.
    """
    height, width = image.shape[:2]
    ratio = max(height, width) / side
    factor = math.ceil(ratio)
    if ratio >= 2 and min(height, width) >= factor:
        whole = image[: height // factor * factor, : width // factor * factor]
        size = (width // factor, height // factor)
        small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8), 1 / factor
    size = (max(1, round(width / ratio)), max(1, round(height / ratio)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8), 1 / ratio


def _scale_box(box: Roi, scale: float, size: tuple[int, int]) -> Roi:
    """A box in a smaller picture of (width, height): at least a pixel, and inside."""
    x, y, across, down = box
    left = min(round(x * scale), size[0] - 1)
    top = min(round(y * scale), size[1] - 1)
    right = min(max(round((x + across) * scale), left + 1), size[0])
    bottom = min(max(round((y + down) * scale), top + 1), size[1])
    return left, top, right - left, bottom - top
