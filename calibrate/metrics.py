"""Figures of merit: image AUROC, best F1, and, over pixels, AUROC, average precision and AUPRO.

Every figure is a `Figure`: a value, or None and the reason why it is undefined; never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibrate.threshold import reaches

PRO_FPR_LIMIT = 0.3
"""AUPRO integrates up to this false-positive rate (Bergmann et al., MVTec AD, IJCV 2021)."""

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure between 0 and 1, or None and the reason why there is none."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BestF1:
    """The largest F1 over all thresholds, and a threshold that reaches it.

    Attributes:
        value: the F1 itself.
        threshold: midway between the lowest rejected and the highest accepted score, a float32;
            the lowest rejected score itself where nothing lies between the two, or where every
            image is rejected. None where `value` is undefined.
    """

    value: Figure
    threshold: float | None


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """Figures over the pixels of all images."""

    auroc: Figure
    average_precision: Figure
    aupro: Figure


def image_auroc(scores: Sequence[float], *, defects: Sequence[bool]) -> Figure:
    """Area under the ROC curve of finite image scores; ties count half.

    Args:
        scores: one finite score an image, higher is worse.
        defects: whether each image shows a defect.

    Raises:
        ValueError: the two differ in length, or a score is not finite.
    """
    reason = _one_class(scores, defects)
    if reason:
        return Figure(None, reason)
    from sklearn.metrics import roc_auc_score

    return Figure(float(roc_auc_score(np.asarray(defects, dtype=bool), np.asarray(scores))))


def best_f1(scores: Sequence[float], *, defects: Sequence[bool]) -> BestF1:
    """Largest F1 of "this image is defective" over all thresholds.

    Raises:
        ValueError: the two differ in length, or a score is not finite.
    """
    reason = _one_class(scores, defects)
    if reason:
        return BestF1(Figure(None, reason), None)
    from sklearn.metrics import precision_recall_curve

    values = np.asarray(scores, dtype=np.float32)
    precision, recall, cuts = precision_recall_curve(np.asarray(defects, dtype=bool), values)
    # The curve's last point (precision 1, recall 0) has no threshold.
    both = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], both, out=np.zeros_like(both), where=both > 0)
    best = int(np.argmax(f1))
    lowest = float(cuts[best])
    accepted = values[~reaches(values, lowest)]
    between = (lowest + float(accepted.max())) / 2 if accepted.size else lowest
    if reaches(accepted, between).any():
        between = lowest
    return BestF1(Figure(float(f1[best])), float(np.float32(between)))


class PixelTally:
    """Collects the pixels of scored images, then computes their exact figures.

    Sound pixels cost 4 bytes each and defective ones 8, so 630 images of 256 x 256 take some
    165 MB, and up to twice that while `figures` runs. Nothing is binned: all three figures follow
    from the rank of each defective pixel among the sorted sound ones, which costs one sort.
    """

    def __init__(self) -> None:
        self._sound: list[_Floats] = []
        self._defective: list[_Floats] = []
        self._weights: list[_Floats] = []
        self._regions = 0

    def add(self, anomaly_map: npt.NDArray[np.floating], *, mask: npt.NDArray[np.bool_]) -> None:
        """Add one image.

        Args:
            anomaly_map: (H, W), finite, higher is worse.
            mask: (H, W), True where the part is defective; its 8-connected regions each count
                once in AUPRO, whatever their area.

        Raises:
            ValueError: the shapes differ, or a value is not finite.
        """
        if anomaly_map.ndim != 2 or anomaly_map.shape != mask.shape:
            raise ValueError(
                f"anomaly map of shape {anomaly_map.shape} and mask of shape {mask.shape}; "
                "both must be the same (height, width)"
            )
        values = anomaly_map.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ValueError("the anomaly map has values that are not finite")
        truth = mask.astype(bool, copy=False)
        self._sound.append(values[~truth])
        if truth.any():
            from scipy import ndimage

            labels, count = ndimage.label(truth, structure=EIGHT_NEIGHBOURS)
            owner = labels[truth]
            self._defective.append(values[truth])
            self._weights.append((1.0 / np.bincount(owner)[owner]).astype(np.float32))
            self._regions += int(count)

    def figures(self, *, limit: float = PRO_FPR_LIMIT) -> PixelFigures:
        """Compute the figures of all pixels added so far.

        AUPRO is the mean over regions of the area under "share of the region found" against the
        false-positive rate, up to `limit`, divided by `limit`. The integral of the mean is the
        mean of the integrals, and a region's integral is a sum over its pixels, so that no
        threshold has to be stepped through.

        Args:
            limit: false-positive rate up to which AUPRO integrates, in (0, 1].

        Raises:
            ValueError: `limit` is out of range.
        """
        if not 0 < limit <= 1:
            raise ValueError(f"limit is {limit}; give a false-positive rate in (0, 1]")
        if not self._defective:
            missing = Figure(None, "no image has a mask with a defective pixel")
            return PixelFigures(missing, missing, missing)
        sound = _joined(self._sound)
        self._sound = [sound]
        if not sound.size:
            missing = Figure(None, "no pixel is sound: every mask covers its whole image")
            return PixelFigures(missing, missing, missing)
        sound.sort()
        found = np.concatenate(self._defective)
        order = np.argsort(found)
        found, weights = found[order], np.concatenate(self._weights)[order]
        # False positives when a pixel's own score is the threshold: without and with ties.
        above = sound.size - np.searchsorted(sound, found, side="right")
        not_below = sound.size - np.searchsorted(sound, found, side="left")
        low, high = above / sound.size, not_below / sound.size
        true_positives = found.size - np.searchsorted(found, found, side="left")
        return PixelFigures(
            auroc=_figure(1.0 - np.mean((low + high) / 2)),
            average_precision=_figure(np.mean(true_positives / (true_positives + not_below))),
            aupro=_figure(np.dot(weights, _area(low, high, limit=limit)) / (self._regions * limit)),
        )


def _area(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], *, limit: float
) -> npt.NDArray[np.float64]:
    """Area under each pixel's step from 0 to 1, which climbs linearly from `low` to `high`."""
    climb = np.maximum(high - low, np.finfo(np.float64).tiny)
    cut_short = np.square(np.maximum(limit - low, 0)) / (2 * climb)
    return np.where(high <= limit, limit - (low + high) / 2, np.where(low < limit, cut_short, 0.0))


def _joined(parts: list[_Floats]) -> _Floats:
    """Concatenate and empty `parts`, which hands memory back while it fills."""
    whole = np.empty(sum(part.size for part in parts), dtype=np.float32)
    end = whole.size
    while parts:
        part = parts.pop()
        whole[end - part.size : end] = part
        end -= part.size
    return whole


def _figure(value: np.floating | float) -> Figure:
    """Rounding may step a hair outside [0, 1]; a figure may not."""
    return Figure(float(min(max(value, 0.0), 1.0)))


def _one_class(scores: Sequence[float], defects: Sequence[bool]) -> str:
    """Why the two classes cannot be compared, or nothing; checks its input."""
    if len(scores) != len(defects):
        raise ValueError(f"{len(scores)} scores and {len(defects)} labels; give one label a score")
    if not np.isfinite(np.asarray(scores, dtype=np.float64)).all():
        raise ValueError("a score is not finite; leave out the images without a score")
    if all(defects):
        return "no good images" if len(defects) else "no images"
    return "" if any(defects) else "no defect images"
