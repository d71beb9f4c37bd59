"""What the manifest says of the scores that its threshold comes from, and of other thresholds."""

from __future__ import annotations

import numpy as np

from calibrate.threshold import Threshold
from cameras.redaction import printable_path
from edge.building.methods import Taught
from edge.building.odd_images import odd_images
from engines.threshold_records import (
    MAX_KEPT,
    HeldOutRecord,
    OddImageRecord,
)


def held_out_record(taught: Taught, threshold: Threshold) -> HeldOutRecord:
    """The scores that the threshold was set from, with as few digits as float32 needs."""
    scores = np.sort(np.asarray(taught.inspector.held_out, np.float32))[::-1]
    return HeldOutRecord(
        images=len(scores),
        highest=tuple(float(str(score)) for score in scores[:MAX_KEPT]),
        probabilities=taught.probabilities,
        odd=tuple(
            OddImageRecord(file=printable_path(one.path.name)[:1000], score=one.score)
            for one in odd_images(taught.inspector, threshold)
        ),
    )
