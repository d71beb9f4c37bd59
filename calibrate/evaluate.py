"""Scores and anomaly maps of labelled images become the figures of an inspector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from calibrate.dataset import GOOD, Sample
from calibrate.metrics import Figure, PixelTally, best_f1, image_auroc
from calibrate.operating_points import alarm_of_escapes
from calibrate.threshold import reaches
from cameras.redaction import printable_path
from engines.threshold_records import OperatingPointRecord

INVERSE_FITS = 0.3  # AUROC of a map's pixels against the mask, below which its inverse fits
_EVERY = 4  # px: of so many along each axis one is enough to tell


@dataclass(frozen=True, slots=True)
class Scored:
    """One labelled image and what an engine made of it.

    Attributes:
        sample: the image, its label and its mask file.
        score: the raw score; None when there is none.
        anomaly_map: (H, W) float32; None leaves the image out of the pixel figures.
        mask: (H, W) bool at the same size; None for a good image means "no defective pixel", and
            leaves a defective one out of the pixel figures.
        reason: why there is no score, such as "cannot be decoded"; empty otherwise.
        left_out: whether it is none of those that count, such as one that was learnt from; an image
            without a score that counts is an ERROR.
        rejected: whether it is a reject, where more than the score decides, such as a smallest
            area; None where the score alone does.
    """

    sample: Sample
    score: float | None
    anomaly_map: npt.NDArray[np.float32] | None = None
    mask: npt.NDArray[np.bool_] | None = None
    reason: str = ""
    left_out: bool = False
    rejected: bool | None = None


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """One image of an evaluation.

    Attributes:
        path: printable.
        label: ``good`` or the name of the defect.
        score: None for ERROR.
        verdict: OK, NG or ERROR.
        reason: why it is ERROR; empty otherwise.
    """

    path: str
    label: str
    score: float | None
    verdict: Literal["OK", "NG", "ERROR"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DefectFigures:
    """One kind of defect: its images, those accepted by mistake, AUROC against all good images."""

    images: int
    escapes: int
    image_auroc: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an inspector is worth on labelled images, at one threshold.

    Attributes:
        image_auroc: over whole images.
        pixel_auroc: over the pixels of good images and of defective ones that have a mask.
        pixel_ap: average precision over the same pixels.
        aupro: per-region overlap, integrated to a false-positive rate of 0.3 and normalised.
        f1_max: largest F1 over all thresholds, reached at `f1_max_threshold`; chosen on these
            very images, so an upper limit and no setting for a line.
        false_rejects: good images that are rejected at `threshold`.
        escapes: defective images that are not.
        good_images, defect_images: images that were scored.
        per_defect: by the name of the defect.
        errors: reason by image, for those that are an ERROR on the line too: they are neither a
            false reject nor an escape.
        skipped: reason by image, for those that do not count, such as ones that were learnt from.
        images: all but the skipped ones, in their order.
        reasons: by field, why a figure is None, or what was left out of it.
        operating_points: what other thresholds do, the highest first; none where no held-out
            scores are known.
        warnings: what is odd with the masks, a line each.
    """

    threshold: float
    good_images: int
    defect_images: int
    false_rejects: int
    escapes: int
    image_auroc: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    aupro: float | None
    f1_max: float | None
    f1_max_threshold: float | None
    per_defect: Mapping[str, DefectFigures] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    images: tuple[JudgedImage, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    operating_points: tuple[OperatingPointRecord, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def alarm(self) -> str:
        """What must be said of the escapes; empty where fewer than half of the defects pass."""
        return alarm_of_escapes(self.escapes, self.defect_images)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; undefined figures are None, never NaN."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["per_defect"] = {name: asdict(value) for name, value in self.per_defect.items()}
        plain |= {name: dict(getattr(self, name)) for name in ("errors", "skipped", "reasons")}
        plain["images"] = [asdict(image) for image in self.images]
        plain["operating_points"] = [point.model_dump() for point in self.operating_points]
        plain["alarm"] = self.alarm
        return plain


def evaluate(scored: Iterable[Scored], *, threshold: float) -> Evaluation:
    """Compute the figures of images as they are scored; one pass, maps are not kept.

    Pixels are kept, at 4 bytes each, for the figures over pixels: some 165 MB for 630 images of
    256 x 256, and up to twice that for a moment at the end.

    Args:
        scored: images with their scores, in any order; consumed once.
        threshold: scores that reach it are rejected, unless an image says otherwise; finite.

    Raises:
        ValueError: the threshold is not finite, or a map and its mask differ in shape.
    """
    if not np.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}; give a finite number")
    tally = _Tally()
    for item in scored:
        tally.add(item)
    return tally.evaluation(threshold=float(threshold))


class _Tally:
    """What has been scored so far."""

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._labels: list[str] = []
        self._rejected: list[bool | None] = []
        self._errors: dict[str, str] = {}
        self._skipped: dict[str, str] = {}
        self._images: list[Scored] = []
        self._pixels = PixelTally()
        self._without_mask = 0
        self._without_map = 0
        self._blank_masks = 0
        self._fits = _MaskFits()

    def add(self, item: Scored) -> None:
        reason = _unusable(item)
        if item.left_out:
            self._skipped[printable_path(item.sample.path)] = reason
            return
        self._images.append(replace(item, anomaly_map=None, mask=None, reason=reason))
        if reason or item.score is None:
            self._errors[printable_path(item.sample.path)] = reason
            return
        self._scores.append(float(item.score))
        self._labels.append(item.sample.defect)
        self._rejected.append(item.rejected)
        self._add_pixels(item)

    def _add_pixels(self, item: Scored) -> None:
        good = item.sample.defect == GOOD
        if item.anomaly_map is None:
            self._without_map += 1
        elif item.mask is not None:
            self._blank_masks += not good and not item.mask.any()
            self._pixels.add(item.anomaly_map, mask=item.mask)
            if not good:
                self._fits.add(item.anomaly_map, item.mask, path=item.sample.path)
        elif good:
            sound = np.zeros(item.anomaly_map.shape, dtype=bool)
            self._pixels.add(item.anomaly_map, mask=sound)
        else:
            self._without_mask += 1

    def evaluation(self, *, threshold: float) -> Evaluation:
        """All figures at `threshold`."""
        defects = [label != GOOD for label in self._labels]
        rejected = [
            reaches(score, threshold) if known is None else known
            for score, known in zip(self._scores, self._rejected, strict=True)
        ]
        pairs = list(zip(defects, rejected, strict=True))
        auroc = image_auroc(self._scores, defects=defects)
        f1 = best_f1(self._scores, defects=defects)
        pixels = self._pixels.figures()
        figures = {
            "image_auroc": auroc,
            "f1_max": f1.value,
            "pixel_auroc": pixels.auroc,
            "pixel_ap": pixels.average_precision,
            "aupro": pixels.aupro,
        }
        return Evaluation(
            threshold=threshold,
            good_images=defects.count(False),
            defect_images=defects.count(True),
            false_rejects=pairs.count((False, True)),
            escapes=pairs.count((True, False)),
            f1_max_threshold=f1.threshold,
            per_defect=MappingProxyType(self._per_defect(rejected)),
            errors=MappingProxyType(self._errors),
            skipped=MappingProxyType(self._skipped),
            images=tuple(_judged(item, threshold=threshold) for item in self._images),
            reasons=MappingProxyType(self._reasons(figures)),
            operating_points=(),
            warnings=self._fits.warnings,
            **{name: figure.value for name, figure in figures.items()},
        )

    def _per_defect(self, rejected: list[bool]) -> dict[str, DefectFigures]:
        good = [s for s, label in zip(self._scores, self._labels, strict=True) if label == GOOD]
        result = {}
        for name in sorted(set(self._labels) - {GOOD}):
            mine = [i for i, label in enumerate(self._labels) if label == name]
            scores = good + [self._scores[i] for i in mine]
            auroc = image_auroc(scores, defects=[False] * len(good) + [True] * len(mine))
            escapes = sum(not rejected[i] for i in mine)
            result[name] = DefectFigures(len(mine), escapes, auroc.value)
        return result

    def _reasons(self, figures: Mapping[str, Figure]) -> dict[str, str]:
        reasons = {name: figure.reason for name, figure in figures.items() if figure.reason}
        left_out = [
            f"{count} {what}"
            for count, what in (
                (self._without_mask, "defect images have no mask and are left out"),
                (self._without_map, "images have no anomaly map and are left out"),
                (self._blank_masks, "defect images have a mask without a defective pixel"),
            )
            if count
        ]
        if left_out:
            reasons["pixels"] = "; ".join(left_out)
        return reasons


class _MaskFits:
    """Whether the maps fit the masks, or rather their inverses."""

    def __init__(self) -> None:
        self._masks = 0
        self._inverse: list[Path] = []

    def add(
        self, anomaly_map: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], *, path: Path
    ) -> None:
        every = slice(None, None, _EVERY)
        values, marked = anomaly_map[every, every].ravel(), mask[every, every].ravel()
        fit = image_auroc(values.tolist(), defects=marked.tolist()).value
        if fit is not None:  # some pixels are marked, and some are not
            self._masks += 1
            if fit < INVERSE_FITS:
                self._inverse.append(path)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line where most masks look inverted: a blind inspector's fit as often as not."""
        count = len(self._inverse)
        if count <= self._masks / 2:
            return ()
        return (
            f"the inverse of {count} of {self._masks} masks fits the anomaly maps far better, such "
            f"as that of {printable_path(self._inverse[0].name)}: white is the defect; invert them",
        )


def _judged(item: Scored, *, threshold: float) -> JudgedImage:
    path, label = printable_path(item.sample.path), item.sample.defect
    if item.reason or item.score is None:
        return JudgedImage(path, label, None, "ERROR", item.reason)
    is_reject = reaches(item.score, threshold) if item.rejected is None else item.rejected
    return JudgedImage(path, label, float(item.score), "NG" if is_reject else "OK")


def _unusable(item: Scored) -> str:
    """Why an image cannot count, or nothing."""
    if item.reason:
        return item.reason
    if item.score is None:
        return "no score"
    if not np.isfinite(item.score):
        return f"the score is {item.score}"
    if item.anomaly_map is not None and not np.isfinite(item.anomaly_map).all():
        return "the anomaly map has values that are not finite"
    return ""
