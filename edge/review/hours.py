"""A shift hour by hour: how many parts, how many rejects, how their scores lay, and why none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np

from edge.options.review import ReviewOptions
from edge.review.moments import NS_PER_S, local_time
from edge.review.parts import PartStore
from edge.sinks.losses import strip_digits

_NAMES = "captured_at_ns, camera, verdict, score, reason"
_NS_PER_QUARTER = 900 * NS_PER_S  # of which every time zone's hours are made


@dataclass(slots=True)
class Hour:
    """What a camera inspected in an hour of the machine's clock.

    Attributes:
        begin: of the hour.
        camera: the camera's name.
        verdicts: how many of each.
        scores: of OK and NG parts.
        reasons: of ERRORs, without their digits, and how often.
    """

    begin: datetime
    camera: str
    verdicts: Counter[str] = field(default_factory=Counter)
    scores: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Counts, the share of rejects, quantiles of the scores, the commonest reason."""
        judged = self.verdicts["OK"] + self.verdicts["NG"]
        median, high, highest = (
            np.quantile(self.scores, (0.5, 0.95, 1.0)).tolist() if self.scores else (None,) * 3
        )
        return {
            "hour": self.begin.isoformat(timespec="minutes"),
            "camera": self.camera,
            "parts": self.verdicts.total(),
            **{name.lower(): self.verdicts[name] for name in ("OK", "NG", "ERROR")},
            "rejects": self.verdicts["NG"] / judged if judged else None,
            "score_median": median,
            "score_p95": high,
            "score_highest": highest,
            "reason": next(iter(self.reasons.most_common(1)), ("", 0))[0],
        }


def hours_of(store: PartStore, options: ReviewOptions) -> Iterator[Hour]:
    """The hours in which there were parts, in order; of each, every camera.

    Raises:
        ValueError: a moment that is none.
        SinkError: the database cannot be read.
    """
    rows = store.rows(_NAMES, options)
    for begin, rows_of_hour in groupby(rows, key=lambda row: _hour_of(row[0] // _NS_PER_QUARTER)):
        cameras: dict[str, Hour] = {}
        for _, camera, verdict, score, reason in rows_of_hour:
            hour = cameras.setdefault(camera, Hour(begin, camera))
            hour.verdicts[verdict] += 1
            if score is not None:
                hour.scores.append(score)
            if reason:
                hour.reasons[" ".join(strip_digits(reason).split())] += 1
        yield from (cameras[name] for name in sorted(cameras))


@cache
def _hour_of(quarter: int) -> datetime:
    return local_time(quarter * _NS_PER_QUARTER).replace(minute=0)
