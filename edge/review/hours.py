"""A shift hour by hour: how many parts, how many rejects, how their scores lay, and why none."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np

from edge.options.review import ReviewOptions
from edge.review.hour_sums import NS_PER_QUARTER, PartSums
from edge.review.moments import local_time
from edge.review.parts import PartStore


@dataclass(slots=True)
class Hour:
    """What a camera inspected in an hour of the machine's clock.

    Attributes:
        begin: of the hour.
        camera: the camera's name.
        verdicts: the parts of each.
    """

    begin: datetime
    camera: str
    verdicts: dict[str, PartSums] = field(default_factory=lambda: defaultdict(PartSums))

    def to_json(self) -> dict[str, Any]:
        """Counts, the share of rejects, quantiles of the scores, the commonest reason."""
        counts = {name: self.verdicts[name].count for name in ("OK", "NG", "ERROR")}
        judged = counts["OK"] + counts["NG"]
        scores = np.concatenate([np.frombuffer(one.scores) for one in self.verdicts.values()])
        median, high, highest = (
            np.quantile(scores, (0.5, 0.95, 1.0)).tolist() if len(scores) else (None,) * 3
        )
        reasons = sorted(self.verdicts["ERROR"].reasons.values(), key=lambda one: -one.parts)
        return {
            "hour": self.begin.isoformat(timespec="minutes"),
            "camera": self.camera,
            "parts": sum(counts.values()),
            **{name.lower(): count for name, count in counts.items()},
            "rejects": counts["NG"] / judged if judged else None,
            "score_median": median,
            "score_p95": high,
            "score_highest": highest,
            "reason": reasons[0].text if reasons else "",
        }


def hours_of(store: PartStore, options: ReviewOptions) -> list[Hour]:
    """The hours in which there were parts, in order; of each, every camera.

    Raises:
        ValueError: a moment that is none, or a camera that is not there.
        SinkError: the database cannot be read.
    """
    hours: dict[tuple[datetime, str], Hour] = {}
    sums = store.sums(options)
    while sums:  # each is let go once it is added: of ten million parts they have 80 MB
        place, part = sums.popitem()
        key = _hour_of(place.quarter), place.camera
        hours.setdefault(key, Hour(*key)).verdicts[place.verdict].add(part)
    return [hours[key] for key in sorted(hours)]


@cache
def _hour_of(quarter: int) -> datetime:
    return local_time(quarter * NS_PER_QUARTER).replace(minute=0)
