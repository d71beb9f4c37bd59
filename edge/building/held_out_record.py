"""What the manifest says of the scores that its threshold comes from, and of other thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibrate.threshold import Threshold
from cameras.redaction import printable_path
from edge.building.methods import Taught
from edge.building.odd_images import OddImage, odd_images, rejected_images
from edge.inspection.held_out import image_names
from engines.threshold_records import (
    MAX_KEPT,
    HeldOutRecord,
    OddImageRecord,
)


def held_out_record(taught: Taught, threshold: Threshold) -> HeldOutRecord:
    """The scores that the threshold was set from, and those of what was learnt."""
    inspector = taught.inspector
    names = image_names(inspector.held_out_files)
    order = np.argsort(-inspector.held_out, kind="stable")
    return HeldOutRecord(
        images=len(inspector.held_out),
        highest=_highest(inspector.held_out),
        files=tuple(names[index] for index in order[:MAX_KEPT]),
        probabilities=taught.probabilities,
        odd=_named(odd_images(inspector, threshold)),
        learnt_images=len(inspector.learnt.values),
        learnt=_highest(inspector.learnt.values),
        rejected=_named(rejected_images(inspector, threshold)),
    )


def _highest(scores: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """The highest first, with as few digits as float32 needs."""
    ranked = np.sort(np.asarray(scores, np.float32))[::-1]
    return tuple(float(str(score)) for score in ranked[:MAX_KEPT])


def _named(images: Sequence[OddImage]) -> tuple[OddImageRecord, ...]:
    return tuple(
        OddImageRecord(file=printable_path(one.path.name)[:1000], score=one.score) for one in images
    )
