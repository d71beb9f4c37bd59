"""What a healthy picture looks like, learnt from good images, and proven on simulated faults.

Each limit lies between the good images, of which none may break it, and faults that are drawn
into them. Where the two cannot be told apart the limit is left out, and the build says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.images import Roi, Size, evenly, fit_image
from cameras.image_facts import is_grey
from cameras.image_files import bits_taken, image_from_file
from edge.health.checks import ImageChecks, Occlusion
from edge.health.measurements import Grid, ImageStats, ImageStatsReader
from engines.manifest import HealthRecord, OcclusionRecord

Grey = npt.NDArray[np.uint8]  # (h, w)

MAX_IMAGES = 300  # more change next to nothing
MAX_SIZES = 4  # of files; more, and any size is healthy
FOLDS = 5
BLUR = 1 / 64  # standard deviation, as a share of the picture's longer side
COVERED = 0.4  # share of the picture behind a simulated obstacle
COVERS = (15, 80, 150, 225)  # its grey levels
COVER_NOISE = 2.0  # and their standard deviation: a sensor sees nothing without
OVEREXPOSED = 4.0
MIN_CAUGHT = 0.5  # share of simulated faults below which a check tells nothing
_AT_ONCE = 4
_MIN_BLACK = 8.0
_MIN_OCCLUDED = 0.25
_USUAL = (2.0, 98.0)  # percent of the images: a few odd ones must not hide an obstacle
_WHITE_SLACK = 0.15
_BLUR_MARGIN = 0.5  # of the way from the least sharp good image to a blurred one
_BLUR_SEEN = 0.85  # of the least sharpness; a blurred one above it looks like a good one


@dataclass(frozen=True, slots=True, eq=False)
class FaultSample:
    """What is measured on a good image, and on what faults would make of it.

    Attributes:
        shape: (height, width) of its file.
        is_grey: whether it has no colour.
        good: of the image itself.
        faults: by the check that should tell.
    """

    shape: tuple[int, int]
    is_grey: bool
    good: ImageStats
    faults: dict[str, ImageStats]


def learn_health(images: Sequence[Path], *, size: Size, roi: Roi | None) -> HealthRecord:
    """Learn limits from good images.

    Args:
        images: usable ones; at most 300 of them are read.
        size: (height, width) of the model's images.
        roi: the part that is inspected.

    Raises:
        ImageError: an image that was readable before is not any more.
    """
    some, bit_depth = evenly(images, MAX_IMAGES), bits_taken()

    def read(turn: int, path: Path) -> FaultSample:
        image = image_from_file(path, bit_depth=bit_depth)
        fitted = fit_image(image, size, roi)
        return sample_from_image(ImageStatsReader(size), fitted, shape=image.shape[:2], turn=turn)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="health") as pool:
        return record_from_samples(list(pool.map(read, range(len(some)), some)))


def sample_from_image(
    reader: ImageStatsReader, fitted: npt.NDArray[np.uint8], *, shape: tuple[int, ...], turn: int
) -> FaultSample:
    """Measure a good image, and simulated faults of it.

    Args:
        reader: of the image's size.
        fitted: (h, w, 3) uint8 BGR as the model sees it.
        shape: of the file.
        turn: running number: faults differ from one image to the next.
    """
    grey = reader.reduce(fitted)
    drawn = {
        "black": cv2.convertScaleAbs(grey, alpha=0.02),
        "saturated": cv2.convertScaleAbs(grey, alpha=OVEREXPOSED),
        "blurred": blur(grey, turn),
        "occluded": cover(grey, turn),
    }
    faults = {name: reader.read_grey(np.asarray(one, np.uint8)) for name, one in drawn.items()}
    return FaultSample((shape[0], shape[1]), is_grey(fitted), reader.read_grey(grey), faults)


def record_from_samples(samples: Sequence[FaultSample]) -> HealthRecord:
    """Choose limits; a check that misses more than half of its simulated faults gets none."""
    sizes = Counter(one.shape for one in samples)
    grey = {one.is_grey for one in samples}
    found = HealthRecord(
        images=len(samples),
        sizes=tuple(sorted(sizes)) if len(sizes) <= MAX_SIZES else (),
        black=_black_limit(samples),
        white=_white_limit(samples),
        blurred=_blur_limit(samples),
        occluded=_occlusion_limit(samples),
        grey=grey.pop() if len(grey) == 1 else None,
    )
    checks = ImageChecks(found)
    caught = {
        name: float(np.mean([checks.find_problem(one.faults[name]) != "" for one in samples]))
        for name in samples[0].faults
    }
    return found.model_copy(update={"caught": {k: round(v, 3) for k, v in caught.items()}})


def undetectable_checks(record: HealthRecord) -> list[str]:
    """Return the checks for which no limit could be found."""
    limits = {
        "black": record.black,
        "saturated": record.white,
        "blurred": record.blurred,
        "occluded": record.occluded,
    }
    return [check for check, limit in limits.items() if limit is None]


def blur(grey: Grey, turn: int) -> Grey:
    """Out of focus, with as much noise as before: that comes from behind the lens."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    noise = float(np.median(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)))) / (0.6745 * 6)
    smooth = cv2.GaussianBlur(grey, (0, 0), BLUR * max(grey.shape)).astype(np.float32)
    smooth += np.random.default_rng(turn).normal(0, noise, grey.shape)
    return np.asarray(np.clip(np.rint(smooth), 0, 255), np.uint8)


def cover(grey: Grey, turn: int) -> Grey:
    """Something smooth before the lens, from one of the four sides."""
    picture = np.rot90(grey, turn % 4).copy()
    part = picture[: round(COVERED * picture.shape[0])]
    noise = np.random.default_rng(turn).normal(0, COVER_NOISE, part.shape)
    part[:] = np.clip(COVERS[turn // 4 % len(COVERS)] + noise, 0, 255)
    return np.ascontiguousarray(np.rot90(picture, -(turn % 4)))


def _black_limit(samples: Sequence[FaultSample]) -> float | None:
    least = min(one.good.brightness for one in samples)
    limit = max(_MIN_BLACK, least / 2)
    return limit if least > limit else None


def _white_limit(samples: Sequence[FaultSample]) -> float | None:
    shares = [one.good.white for one in samples]
    limit = max(shares) + max(_WHITE_SLACK, 3 * (max(shares) - float(np.median(shares))))
    told = [one.faults["saturated"].white > limit for one in samples]
    return round(limit, 4) if np.mean(told) >= MIN_CAUGHT else None


def _blur_limit(samples: Sequence[FaultSample]) -> float | None:
    least = min(one.good.sharpness for one in samples)
    most = float(np.median([one.faults["blurred"].sharpness for one in samples]))
    return round(least - _BLUR_MARGIN * (least - most), 4) if most < _BLUR_SEEN * least else None


def _occlusion_limit(samples: Sequence[FaultSample]) -> OcclusionRecord | None:
    """The whole's ranges; the limit from images whose own part of them was left out."""
    shares = []
    for fold in range(min(FOLDS, len(samples))):
        others = [one for index, one in enumerate(samples) if index % FOLDS != fold]
        held_out = samples[fold::FOLDS]
        if others:
            shares += [_learn_ranges(others, 1.0).measure_share(one.good) for one in held_out]
    most = max(shares, default=1.0)
    limit = max(_MIN_OCCLUDED, most + max(0.1, most / 2))
    found = _learn_ranges(samples, limit)
    told = [found.measure_share(one.faults["occluded"]) > limit for one in samples]
    return _record_from_occlusion(found) if np.mean(told) >= MIN_CAUGHT else None


def _learn_ranges(samples: Sequence[FaultSample], limit: float) -> Occlusion:
    light = np.stack([one.good.light for one in samples])
    detail = np.stack([one.good.detail for one in samples])
    return Occlusion(
        limit=limit,
        low=np.percentile(light, _USUAL[0], axis=0).astype(np.float32),
        high=np.percentile(light, _USUAL[1], axis=0).astype(np.float32),
        typical=np.median(light, axis=0),
        detail=np.percentile(detail, _USUAL[0], axis=0).astype(np.float32),
    )


def _record_from_occlusion(found: Occlusion) -> OcclusionRecord:
    def numbers(grid: Grid) -> tuple[float, ...]:
        return tuple(round(float(value), 2) for value in grid.ravel())

    return OcclusionRecord(
        limit=round(found.limit, 4),
        low=numbers(found.low),
        high=numbers(found.high),
        typical=numbers(found.typical),
        detail=numbers(found.detail),
    )
