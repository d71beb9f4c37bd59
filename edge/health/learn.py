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
from cameras.image_files import image_from_file
from edge.health.checks import Health, Occlusion
from edge.health.measurements import Grid, SignReader, Signs
from engines.manifest import HealthRecord, OcclusionRecord

Grey = npt.NDArray[np.uint8]  # (h, w)

MOST_IMAGES = 300  # more change next to nothing
MOST_SIZES = 4  # of files; more, and any size is healthy
FOLDS = 5
BLUR = 1 / 64  # standard deviation, as a share of the picture's longer side
COVERED = 0.4  # share of the picture behind a simulated obstacle
COVERS = (15, 80, 150, 225)  # its grey levels
COVER_NOISE = 2.0  # and their standard deviation: a sensor sees nothing without
OVEREXPOSED = 4.0
CAUGHT = 0.5  # share of simulated faults below which a sign tells nothing
_AT_ONCE = 4
_LEAST_BLACK = 8.0
_LEAST_OCCLUDED = 0.25
_USUAL = (2.0, 98.0)  # percent of the images: a few odd ones must not hide an obstacle
_WHITE_SLACK = 0.15
_BLUR_ROOM = 0.5  # of the way from the least sharp good image to a blurred one
_BLUR_SEEN = 0.85  # of the least sharpness; a blurred one above it looks like a good one


@dataclass(frozen=True, slots=True, eq=False)
class Specimen:
    """Signs of a good image, and of what faults would make of it.

    Attributes:
        shape: (height, width) of its file.
        good: its own signs.
        faults: by the sign that should tell.
    """

    shape: tuple[int, int]
    good: Signs
    faults: dict[str, Signs]


def learn_health(images: Sequence[Path], *, size: Size, roi: Roi | None) -> HealthRecord:
    """Learn limits from good images.

    Args:
        images: usable ones; at most 300 of them are read.
        size: (height, width) of the model's images.
        roi: the part that is inspected.

    Raises:
        ImageError: an image that was readable before is not any more.
    """
    some = evenly(images, MOST_IMAGES)

    def read(turn: int, path: Path) -> Specimen:
        image = image_from_file(path)
        fitted = fit_image(image, size, roi)
        return specimen(SignReader(size), fitted, shape=image.shape[:2], turn=turn)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="health") as pool:
        return health_from_specimens(list(pool.map(read, range(len(some)), some)))


def specimen(
    reader: SignReader, fitted: npt.NDArray[np.uint8], *, shape: tuple[int, ...], turn: int
) -> Specimen:
    """Measure a good image, and simulated faults of it.

    Args:
        reader: of the image's size.
        fitted: (h, w, 3) uint8 BGR as the model sees it.
        shape: of the file.
        turn: running number: faults differ from one image to the next.
    """
    grey = reader.reduced(fitted)
    drawn = {
        "black": cv2.convertScaleAbs(grey, alpha=0.02),
        "saturated": cv2.convertScaleAbs(grey, alpha=OVEREXPOSED),
        "blurred": blurred(grey, turn),
        "occluded": covered(grey, turn),
    }
    faults = {name: reader.read_grey(np.asarray(one, np.uint8)) for name, one in drawn.items()}
    return Specimen((shape[0], shape[1]), reader.read_grey(grey), faults)


def health_from_specimens(specimens: Sequence[Specimen]) -> HealthRecord:
    """Choose limits; a sign that misses more than half of its simulated faults gets none."""
    sizes = Counter(one.shape for one in specimens)
    found = HealthRecord(
        images=len(specimens),
        sizes=tuple(sorted(sizes)) if len(sizes) <= MOST_SIZES else (),
        black=_black(specimens),
        white=_white(specimens),
        blurred=_blurred(specimens),
        occluded=_occluded(specimens),
    )
    health = Health(found)
    caught = {
        name: float(np.mean([health.problem(one.faults[name]) != "" for one in specimens]))
        for name in specimens[0].faults
    }
    return found.model_copy(update={"caught": {k: round(v, 3) for k, v in caught.items()}})


def unseen(record: HealthRecord) -> list[str]:
    """Signs for which no limit could be found."""
    limits = {
        "black": record.black,
        "saturated": record.white,
        "blurred": record.blurred,
        "occluded": record.occluded,
    }
    return [sign for sign, limit in limits.items() if limit is None]


def blurred(grey: Grey, turn: int) -> Grey:
    """Out of focus, with as much noise as before: that comes from behind the lens."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    noise = float(np.median(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)))) / (0.6745 * 6)
    smooth = cv2.GaussianBlur(grey, (0, 0), BLUR * max(grey.shape)).astype(np.float32)
    smooth += np.random.default_rng(turn).normal(0, noise, grey.shape)
    return np.asarray(np.clip(np.rint(smooth), 0, 255), np.uint8)


def covered(grey: Grey, turn: int) -> Grey:
    """Something smooth before the lens, from one of the four sides."""
    picture = np.rot90(grey, turn % 4).copy()
    part = picture[: round(COVERED * picture.shape[0])]
    noise = np.random.default_rng(turn).normal(0, COVER_NOISE, part.shape)
    part[:] = np.clip(COVERS[turn // 4 % len(COVERS)] + noise, 0, 255)
    return np.ascontiguousarray(np.rot90(picture, -(turn % 4)))


def _black(specimens: Sequence[Specimen]) -> float | None:
    least = min(one.good.brightness for one in specimens)
    limit = max(_LEAST_BLACK, least / 2)
    return limit if least > limit else None


def _white(specimens: Sequence[Specimen]) -> float | None:
    shares = [one.good.white for one in specimens]
    limit = max(shares) + max(_WHITE_SLACK, 3 * (max(shares) - float(np.median(shares))))
    told = [one.faults["saturated"].white > limit for one in specimens]
    return round(limit, 4) if np.mean(told) >= CAUGHT else None


def _blurred(specimens: Sequence[Specimen]) -> float | None:
    least = min(one.good.sharpness for one in specimens)
    most = float(np.median([one.faults["blurred"].sharpness for one in specimens]))
    return round(least - _BLUR_ROOM * (least - most), 4) if most < _BLUR_SEEN * least else None


def _occluded(specimens: Sequence[Specimen]) -> OcclusionRecord | None:
    """The whole's ranges; the limit from images whose own part of them was left out."""
    shares = []
    for fold in range(min(FOLDS, len(specimens))):
        others = [one for index, one in enumerate(specimens) if index % FOLDS != fold]
        held_out = specimens[fold::FOLDS]
        if others:
            shares += [_ranges(others, 1.0).share(one.good) for one in held_out]
    most = max(shares, default=1.0)
    limit = max(_LEAST_OCCLUDED, most + max(0.1, most / 2))
    found = _ranges(specimens, limit)
    told = [found.share(one.faults["occluded"]) > limit for one in specimens]
    return _record(found) if np.mean(told) >= CAUGHT else None


def _ranges(specimens: Sequence[Specimen], limit: float) -> Occlusion:
    light = np.stack([one.good.light for one in specimens])
    detail = np.stack([one.good.detail for one in specimens])
    return Occlusion(
        limit=limit,
        low=np.percentile(light, _USUAL[0], axis=0).astype(np.float32),
        high=np.percentile(light, _USUAL[1], axis=0).astype(np.float32),
        typical=np.median(light, axis=0),
        detail=np.percentile(detail, _USUAL[0], axis=0).astype(np.float32),
    )


def _record(found: Occlusion) -> OcclusionRecord:
    def numbers(grid: Grid) -> tuple[float, ...]:
        return tuple(round(float(value), 2) for value in grid.ravel())

    return OcclusionRecord(
        limit=round(found.limit, 4),
        low=numbers(found.low),
        high=numbers(found.high),
        typical=numbers(found.typical),
        detail=numbers(found.detail),
    )
