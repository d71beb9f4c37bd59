"""What is said about pictures while they are taken: light, sharpness, and whether they differ."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from calibrate.images import fit_image
from calibrate.likeness.find import clusters_of_sketches
from calibrate.likeness.same import is_same
from calibrate.likeness.sketches import Sketch, sketch_of
from edge.checking.video_frames import size_to_compare
from edge.health.measurements import ImageStats, ImageStatsReader
from edge.result import Image, Roi

DARK, LIGHT = 32.0, 224.0  # mean grey levels
WHITE = 0.02  # share of burnt-out pixels
BLURRED = 0.7  # of the sharpest picture so far
COMPARED = 4  # of the last pictures
LAST = 10  # pictures of which most are alike before it is said
MOST_SKETCHES = 5_000


class PictureHints:
    """Looks at each picture that is saved, and says what is amiss; one thread calls.

    Args:
        roi: the part of the picture that will be inspected; None is all of it.
    """

    def __init__(self, roi: Roi | None) -> None:
        self._roi = roi
        self._reader: ImageStatsReader | None = None
        self._sketches: list[Sketch] = []
        self._sharpness: list[float] = []
        self._alike: list[bool] = []
        self._said: set[str] = set()

    def look(self, image: Image) -> Iterator[str]:
        """Look at a picture; what is amiss is said once, not with each picture.

        Raises:
            ImageError: the region of interest does not lie in it.
        """
        stats, sketch = self._measure(image)
        self._sharpness.append(stats.sharpness)
        alike = any(is_same(sketch, other) for other in self._sketches[-COMPARED:])
        self._alike.append(alike)
        if len(self._sketches) < MOST_SKETCHES:
            self._sketches.append(sketch)
        for line in self._hints(stats):
            what = line.split(":", 1)[0]
            if what not in self._said:
                self._said.add(what)
                yield line

    @property
    def sharpness(self) -> float | None:
        """Of the pictures so far; None before the first."""
        return median(self._sharpness) if self._sharpness else None

    def count_different(self) -> int:
        """How many different things the pictures show: further shots of one part are one."""
        return clusters_of_sketches(self._sketches).count if self._sketches else 0

    def _measure(self, image: Image) -> tuple[ImageStats, Sketch]:
        height, width = image.shape[:2] if self._roi is None else (self._roi[3], self._roi[2])
        fitted = fit_image(image, size_to_compare(height, width), self._roi)
        if self._reader is None or self._reader.size != fitted.shape[:2]:
            self._reader = ImageStatsReader((fitted.shape[0], fitted.shape[1]))
            self._sketches.clear()
        return self._reader.read(fitted), sketch_of(fitted)

    def _hints(self, stats: ImageStats) -> Iterator[str]:
        light = float(stats.light.mean())
        if light < DARK:
            yield f"dark: mean grey level {light:.0f} of 255; more light, or a longer exposure"
        if light > LIGHT or stats.white > WHITE:
            yield (
                f"burnt out: {stats.white:.0%} of the picture is white; unless that is a bright "
                "background, a shorter exposure"
            )
        sharpest = max(self._sharpness)
        if stats.sharpness < BLURRED * sharpest:
            yield (
                f"blurred: {stats.sharpness:.2f} where the sharpest was {sharpest:.2f}; "
                "is the part still moving, or the focus off?"
            )
        last = self._alike[-LAST:]
        if len(last) == LAST and sum(last) > LAST // 2:
            yield (
                f"alike: {sum(last)} of the last {LAST} pictures show what one before them shows; "
                "an inspector learns from different parts: does the part move on?"
            )
