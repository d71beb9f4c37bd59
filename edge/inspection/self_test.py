"""What must hold before the first OK, and ever after: engine, preparation and decision are right.

The engine must give the golden images the scores of the build. What no golden image shows is tried
with drawn ones: that the picture's colours and places arrive in the network as they are, and that
what reaches the threshold is NG, what is below is OK, and what is no number is ERROR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from cameras.errors import ImageError
from cameras.image_files import image_from_bytes
from edge.inspection.map_score import score_from_map
from edge.inspection.verdict import DecisionSettings, Judgement
from edge.result import Image, Roi, Verdict
from engines.bundle import Bundle
from engines.changes import built_threshold
from engines.engine import Images, Output
from engines.errors import BundleError, EngineError
from engines.manifest import Manifest
from engines.score_rule import MAXIMUM

Fit: TypeAlias = Callable[[Image, tuple[int, int], Roi | None], Image]
Decide: TypeAlias = Callable[..., Judgement]

GOLDEN_TOLERANCE = {
    "protoad": {"fp32": 0.01, "fp16": 0.05, "int8": 0.2},
    "prn": {"fp32": 0.01, "fp16": 0.2, "int8": 0.2},
}
"""Share by which an engine's score may differ from that of the build: of the build's threshold, or
of the score where that is larger.

Between engines 1e-5 were measured in fp32. ProtoAD: 2 % where one runs fp16 as bf16, and in int8,
where each rounds in its own way, 11 %. PRN, whose sigmoid is steep: 14 % in both.
"""
_LEVELS = 255.0
_OFF = 3.0  # levels: interpolation rounds
_AROUND = 16  # px
_REPAIR = "install protoedge and opencv-python again"
_ANY_SHAPE = (4096, 4096)  # of pictures, where those that were learnt from had many


class GoldenImages:
    """A bundle's golden images, each read once: what is in the bundle's place later is another's.

    Args:
        bundle: opened.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._images: dict[str, Image] = {}

    def read(self, file: str) -> Image:
        """A golden image by its file's name, at the model's size.

        Raises:
            BundleError: it cannot be decoded.
        """
        if file not in self._images:
            data = self._bundle.read(file)
            try:
                self._images[file] = image_from_bytes(data)
            except ImageError as error:
                where = self._bundle.path / file
                raise BundleError(f"{where}: {error}; build the bundle again") from error
        return self._images[file]

    def frame(self, settings: DecisionSettings) -> Image:
        """The good one as a frame that has it in its region of interest, and fits the mask."""
        manifest = self._bundle.manifest
        image, roi, ignore = self.read(manifest.golden[0].file), settings.roi, settings.ignore
        if roi is None:
            return image if ignore is None else _resize(image, ignore.shape)
        x, y, width, height = roi
        learnt = manifest.health.sizes if manifest.health else ()
        if ignore is not None and ignore.shape != (height, width):
            learnt = ((ignore.shape[0], ignore.shape[1]),)
        fitting = [size for size in learnt if size[0] >= y + height and size[1] >= x + width]
        frame = np.zeros((*(fitting[0] if fitting else (y + height, x + width)), 3), np.uint8)
        frame[y : y + height, x : x + width] = _resize(image, (height, width))
        return frame


def _resize(image: Image, size: tuple[int, ...]) -> Image:
    return np.asarray(cv2.resize(image, (size[1], size[0])), np.uint8)


def check_scores(
    read: Callable[[str], Image],
    infer: Callable[[Images], tuple[Output, ...]],
    *,
    manifest: Manifest,
    who: str,
) -> None:
    """Compare the golden images' scores with those of the build.

    Args:
        read: gives a golden image by its file's name.
        infer: of the engine that is tested.
        manifest: says which there are, and their scores.
        who: bundle and engine, for the error.

    Raises:
        EngineError: they differ by more than they may, a map is none, or the engine cannot run.
    """
    share = GOLDEN_TOLERANCE[manifest.model][manifest.precision]
    threshold = abs(built_threshold(manifest))
    for golden in manifest.golden:
        allowed = share * max(threshold, abs(golden.score))
        maps, scores = infer(read(golden.file)[None])
        score = float(scores[0])
        if not math.isfinite(score) or abs(score - golden.score) > allowed:
            raise EngineError(
                f"{who} gives {golden.file} the score "
                f"{score:.4f} instead of {golden.score:.4f}; try --engine onnxruntime, and "
                "build the bundle again on this machine"
            )
        problem = _problem_of_map(maps, score, manifest, allowed)
        if problem:
            raise EngineError(
                f"{who} gives {golden.file} {problem}; try --engine "
                "onnxruntime, and build the bundle again on this machine"
            )


def check_preparation(fit: Fit, *, size: tuple[int, int], roi: Roi | None) -> None:
    """See that a picture arrives where and as it is, and nothing of another.

    The picture's blue rises from left to right, its green from top to bottom, its red falls from
    left to right: whatever is swapped, turned, shifted, cut or brightened changes one of them.

    Args:
        fit: crops and resizes, as `calibrate.images.fit_image`.
        size: (height, width) that it has to give.
        roi: the part that has to be in it.

    Raises:
        EngineError: it does not.
    """
    x, y, width, height = roi or (0, 0, 2 * size[1] + 10, 2 * size[0] + 6)
    around = 0 if roi is None else _AROUND
    # Beyond the outermost pixels' centres there is nothing to interpolate with.
    allowed = _OFF + _LEVELS / min(width, height)
    for turned in (False, True):  # a second picture: the first one must not come back
        picture = np.zeros((y + height + around, x + width + around, 3), np.uint8)
        picture[y : y + height, x : x + width] = np.rint(_ramps(height, width, turned=turned))
        fitted = fit(picture, size, roi)
        if not isinstance(fitted, np.ndarray) or fitted.dtype != np.uint8:
            kind = getattr(fitted, "dtype", type(fitted).__name__)
            raise EngineError(f"self-test: a picture is prepared as {kind}; {_REPAIR}")
        if fitted.shape != (*size, 3):
            raise EngineError(f"self-test: a picture is prepared as {fitted.shape}; {_REPAIR}")
        off = float(np.abs(fitted - _ramps(*size, turned=turned)).max())
        if off > allowed:
            raise EngineError(
                f"self-test: a picture is prepared with values off by {off:.0f} levels; {_REPAIR}"
            )


def check_decision(decide: Decide, *, settings: DecisionSettings, manifest: Manifest) -> None:
    """See that a map right at the threshold is NG, right below is OK, and NaN is ERROR.

    Args:
        decide: as `edge.inspection.verdict.decide`.
        settings: threshold, area, mask and region of interest that it is used with.
        manifest: says how large the maps are, and the pictures that were learnt from.

    Raises:
        EngineError: it does not; also where the settings can never give NG.
    """
    learnt = manifest.health.sizes if manifest.health else ()
    largest = max(learnt, key=math.prod, default=_ANY_SHAPE)
    x, y, width, height = settings.roi or (0, 0, *largest[::-1])
    shape = (y + height, x + width, 3)
    if settings.ignore is not None and settings.ignore.shape != (height, width):
        shape = (*settings.ignore.shape, 3)  # of the frame
    rule, at = settings.score_rule, np.float32(settings.threshold)
    # A map that is the same everywhere has its highest term for a score.
    level = min(term.mean_at(settings.threshold) for term in rule.terms)
    # By more than the next float32 below, which may count as 0 in a thread of an engine's.
    step = max(1e-6 * max(abs(settings.threshold), abs(level)), float(np.finfo(np.float32).tiny))
    with np.errstate(over="ignore"):
        below = np.float32(at - step)
    reached = level if rule == MAXIMUM else level + step  # terms are rounded

    def verdict_of(value: Any, score: Any) -> tuple[Verdict, str]:
        anomaly_map = np.full(manifest.size, value, np.float32)
        found = decide(anomaly_map, float(score), settings=settings, frame_shape=shape)
        return found.verdict, found.reason

    bad, reason = verdict_of(reached, at)
    if bad is Verdict.ERROR and "mask" in reason:
        return  # every part is an ERROR then, and says so
    tries = {
        "a map right at the threshold": (bad, Verdict.NG),
        "a map right below the threshold": (verdict_of(level - step, below)[0], Verdict.OK),
        "a map of NaN": (verdict_of(np.nan, below)[0], Verdict.ERROR),
        "an infinite map": (verdict_of(np.inf, below)[0], Verdict.ERROR),
        "a score of NaN": (verdict_of(below, math.nan)[0], Verdict.ERROR),
    }
    for what, (found, wanted) in tries.items():
        if found is not wanted:
            raise EngineError(
                f"self-test: {what} is {found} instead of {wanted}; check threshold, min_area "
                f"{settings.min_area} and the ignore mask"
            )


def find_region_beyond(roi: Roi, manifest: Manifest) -> str:
    """Say why no picture of those that were learnt holds a region of interest.

    Args:
        roi: (x, y, width, height) in pixels of the picture.
        manifest: says how large the pictures were.

    Returns:
        The reason; empty where one holds it, or where they had too many sizes to tell.
    """
    x, y, width, height = roi
    learnt = manifest.health.sizes if manifest.health else ()
    if not learnt or any(size[0] >= y + height and size[1] >= x + width for size in learnt):
        return ""
    sizes = ", ".join(f"{across}x{down}" for down, across in learnt)
    region = ",".join(map(str, roi))
    return f"region {region} reaches beyond the pictures that were learnt, of {sizes} px"


def _problem_of_map(
    maps: npt.NDArray[Any], score: float, manifest: Manifest, allowed: float
) -> str:
    """Why an anomaly map is none, or is not the one that the score was made from."""
    if maps.shape[1:] != tuple(manifest.size):
        return f"a map of shape {maps.shape[1:]}"
    if not np.isfinite(maps[0]).all():
        return "a map that is not finite"
    found = score_from_map(maps[0], manifest.score_rule)
    # The map before smoothing, whose maximum is not known here, is nowhere lower than this one's.
    lower = score - found if manifest.score_kind != "raw" else 0.0
    if max(lower, found - score) > allowed:
        return f"a map whose score would be {found:.4f}, with a score of {score:.4f}"
    return ""


def _ramps(height: int, width: int, *, turned: bool) -> npt.NDArray[np.float32]:
    """(height, width, 3): what blue, green and red are there, in levels."""
    across = np.broadcast_to(_ramp(width), (height, width))
    down = np.broadcast_to(_ramp(height)[:, None], (height, width))
    ramps = np.stack([across, down, _LEVELS - across], axis=-1)
    return np.asarray(_LEVELS - ramps if turned else ramps, np.float32)


def _ramp(length: int) -> npt.NDArray[np.float32]:
    """From 0 to 255, at the pixels' centres."""
    return np.asarray((np.arange(length) + 0.5) * (_LEVELS / length), np.float32)
