"""Run an engine over labelled images and measure what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.dataset import GOOD, Sample, read_masks
from calibrate.evaluate import Evaluation, Scored, evaluate
from calibrate.images import Roi, Size, fit_image
from calibrate.operating_points import LabelledCounts
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from edge.drawing.grid import Row
from edge.inspection.judge import Judge
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Image, Verdict
from engines.manifest import DIGITS
from process.plain_files import sha256_of

ROWS_OF_A_KIND = 2
LEARNT = "the inspector learnt from it: it proves nothing, and is not counted"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Figures, and what pictures are made of.

    Attributes:
        evaluation: the figures.
        good, defects: scores of good and of defective images.
        rows: a few images of each kind, those nearest to the threshold first.
        compared: what the thresholds do that were to be compared.
        region_threshold: value of a map from which a pixel belongs to a region.
    """

    evaluation: Evaluation
    good: tuple[float, ...]
    defects: tuple[float, ...]
    rows: tuple[Row, ...]
    compared: LabelledCounts
    region_threshold: float

    @property
    def figures(self) -> dict[str, float]:
        """Those that a manifest keeps, without what is undefined."""
        quality = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_max")
        names = (*quality, "false_rejects", "escapes", "good_images", "defect_images")
        values = {name: getattr(self.evaluation, name) for name in names}
        return {name: float(value) for name, value in values.items() if value is not None}


@dataclass(slots=True)
class _Seen:
    """Scores, of each kind the rows with the smallest margin, and verdicts elsewhere.

    Attributes:
        elsewhere: the settings with the thresholds that are to be compared.
        rejected: for each image, whether it is good and its verdicts there.
    """

    elsewhere: Sequence[DecisionSettings] = ()
    rejected: list[tuple[bool, list[bool]]] = field(default_factory=list)
    good: list[float] = field(default_factory=list)
    defects: list[float] = field(default_factory=list)
    rows: dict[str, list[tuple[float, Row]]] = field(default_factory=dict)

    def add(self, row: Row, *, score: float, threshold: float) -> None:
        (self.good if row.title == GOOD else self.defects).append(score)
        kept = self.rows.setdefault(row.title, [])
        kept.append((abs(score - threshold), row))
        kept.sort(key=lambda pair: pair[0])
        del kept[ROWS_OF_A_KIND:]

    def compared(self) -> LabelledCounts:
        """False rejects and escapes at each of the thresholds."""
        good = [verdicts for is_good, verdicts in self.rejected if is_good]
        bad = [verdicts for is_good, verdicts in self.rejected if not is_good]
        places = range(len(self.elsewhere))
        return LabelledCounts(
            good=len(good),
            defects=len(bad),
            false_rejects=tuple(sum(one[place] for one in good) for place in places),
            escapes=tuple(sum(not one[place] for one in bad) for place in places),
        )


def measure(
    judge: Judge,
    samples: Sequence[Sample],
    *,
    size: Size,
    settings: DecisionSettings,
    learnt: frozenset[str] = frozenset(),
    compare: Sequence[float] = (),
    progress: Callable[[float], None] | None = None,
) -> Measured:
    """Score labelled images and compute the figures.

    Args:
        judge: such as an inspector's `inspect`; the images come as a stream would deliver them.
        samples: images with their labels and masks.
        size: (height, width) of the graph.
        settings: what is a reject, and the part that is inspected. Figures over pixels are of
            the whole map, also where an ignore mask leaves something out.
        learnt: beginnings of the SHA-256 of files that the inspector learnt from, of
            `DIGITS` digits; they are refused, not counted.
        compare: thresholds with which verdicts are counted, too.
        progress: called with the share done.

    Raises:
        DatasetError: a mask that does not fit its image.
    """
    seen = _Seen([replace(settings, threshold=threshold) for threshold in compare])
    wanted = {name for sample in samples if (name := sample.defect)}

    def scored() -> Iterator[Scored]:
        for done, sample in enumerate(samples):
            if was_learnt(sample.path, learnt):
                yield Scored(sample, None, reason=LEARNT, left_out=True)
            else:
                yield _score(judge, sample, size=size, settings=settings, seen=seen)
            if progress:
                progress((done + 1) / len(samples))

    evaluation = evaluate(scored(), threshold=settings.threshold)
    order = sorted(wanted, key=lambda kind: (kind == GOOD, kind))
    rows = tuple(row for kind in order for _, row in seen.rows.get(kind, []))
    good, defects = tuple(seen.good), tuple(seen.defects)
    return Measured(evaluation, good, defects, rows, seen.compared(), settings.region_threshold)


def was_learnt(path: Path, learnt: frozenset[str]) -> bool:
    """Whether a file is one of those of which the beginnings of the SHA-256 are given."""
    return bool(learnt) and file_sha256(path)[:DIGITS] in learnt


def file_sha256(path: Path) -> str:
    """Of a file's content; empty if it cannot be read, which scoring it will tell."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def truth_of(
    sample: Sample, *, image_shape: tuple[int, ...], size: Size, roi: Roi | None
) -> npt.NDArray[np.bool_] | None:
    """A sample's masks, merged, at the model's size; None without one.

    Raises:
        DatasetError: it cannot be read, or does not fit its image.
    """
    if not sample.masks:
        return None
    shape = (image_shape[0], image_shape[1])
    return read_masks(sample.masks, image_size=shape, size=size, roi=roi)


def png_from_image(image: Image) -> bytes:
    """Encode (H, W, 3) uint8 BGR as PNG."""
    _, data = cv2.imencode(".png", image)
    return bytes(data.tobytes())


def _score(
    judge: Judge, sample: Sample, *, size: Size, settings: DecisionSettings, seen: _Seen
) -> Scored:
    try:
        image = image_from_file(sample.path)
    except ImageError as error:
        return Scored(sample, None, reason=str(error))
    result = judge(image)
    if result.score is None or result.anomaly_map is None:
        return Scored(sample, None, reason=result.reason)
    mask = truth_of(sample, image_shape=image.shape, size=size, roi=settings.roi)
    seen.add(
        Row(
            fit_image(image, size, settings.roi),
            result.anomaly_map,
            mask,
            sample.defect,
            result.score,
            result.verdict,
            result.defect_mask,
        ),
        score=result.score,
        threshold=settings.threshold,
    )
    others = [
        decide(result.anomaly_map, result.score, settings=other, frame_shape=image.shape).verdict
        for other in seen.elsewhere
    ]
    seen.rejected.append((sample.defect == GOOD, [verdict is Verdict.NG for verdict in others]))
    rejected = result.verdict is Verdict.NG
    return Scored(sample, result.score, result.anomaly_map, mask, rejected=rejected)
