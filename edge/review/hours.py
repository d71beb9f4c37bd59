"""A shift hour by hour: how many parts, how many rejects, how their scores lay, and why none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.options.review import ReviewOptions
from edge.review.moments import NS_PER_S, local_time
from edge.review.parts import PartStore
from edge.sinks.losses import strip_digits

_NS_PER_QUARTER = 900 * NS_PER_S  # of which every time zone's hours are made
_QUARTER = f"captured_at_ns / {_NS_PER_QUARTER}"
_ERRORS = f"{_QUARTER}, camera, reason, count(*), max(captured_at_ns)"
_ROWS_AT_ONCE = 100_000
_SCORED = np.dtype([("score", np.float64), ("place", np.int64)])


@dataclass(slots=True)
class Hour:
    """What a camera inspected in an hour of the machine's clock.

    Attributes:
        begin: of the hour.
        camera: the camera's name.
        verdicts: how many of each.
        scores: of OK and NG parts, in pieces.
        reasons: how often ERRORs had a reason, by its words without their digits.
        examples: of each, the last one, with its digits, after its time.
    """

    begin: datetime
    camera: str
    verdicts: Counter[str] = field(default_factory=Counter)
    scores: list[npt.NDArray[np.float64]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[int, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Counts, the share of rejects, quantiles of the scores, the commonest reason."""
        judged = self.verdicts["OK"] + self.verdicts["NG"]
        scores = np.concatenate([*self.scores, ()])
        median, high, highest = (
            np.quantile(scores, (0.5, 0.95, 1.0)).tolist() if len(scores) else (None,) * 3
        )
        commonest = next(iter(self.reasons.most_common(1)), ("", 0))[0]
        return {
            "hour": self.begin.isoformat(timespec="minutes"),
            "camera": self.camera,
            "parts": self.verdicts.total(),
            **{name.lower(): self.verdicts[name] for name in ("OK", "NG", "ERROR")},
            "rejects": self.verdicts["NG"] / judged if judged else None,
            "score_median": median,
            "score_p95": high,
            "score_highest": highest,
            "reason": self.examples.get(commonest, (0, ""))[1],
        }


_Hours: TypeAlias = dict[tuple[datetime, str], Hour]


def hours_of(store: PartStore, options: ReviewOptions) -> list[Hour]:
    """The hours in which there were parts, in order; of each, every camera.

    Raises:
        ValueError: a moment that is none, or a camera that is not there.
        SinkError: the database cannot be read.
    """
    hours: _Hours = {}
    cameras = store.cameras() if options.camera is None else (options.camera,)
    for verdict in options.verdict or ("OK", "NG", "ERROR"):
        chosen = options.model_copy(update={"verdict": (verdict,)})
        if verdict == "ERROR":
            _add_errors(hours, store, chosen)
        else:
            _add_scores(hours, store, chosen, cameras)
    return [hours[key] for key in sorted(hours)]


def _add_scores(
    hours: _Hours, store: PartStore, options: ReviewOptions, cameras: Sequence[str]
) -> None:
    """Add the parts of one verdict; a million of them are read in half a second."""
    if not cameras:
        return
    which = " ".join(f"WHEN ? THEN {number}" for number in range(len(cameras)))
    place = f"({_QUARTER}) * {len(cameras)} + CASE camera {which} END"
    rows = store.rows(f"ifnull(score, 9e999), {place}", options, values=cameras)
    while len(read := np.fromiter(islice(rows, _ROWS_AT_ONCE), _SCORED)):
        read = read[np.argsort(read["place"], kind="stable")]
        places, first = np.unique(read["place"], return_index=True)
        for number, scores in zip(places, np.split(read["score"], first[1:]), strict=True):
            quarter, camera = divmod(int(number), len(cameras))
            hour = _hour_in(hours, quarter, cameras[camera])
            hour.verdicts[options.verdict[0]] += len(scores)
            hour.scores.append(scores[np.isfinite(scores)])


def _add_errors(hours: _Hours, store: PartStore, options: ReviewOptions) -> None:
    for quarter, camera, reason, count, last_ns in store.rows(
        _ERRORS, options, then="GROUP BY 1, 2, 3"
    ):
        hour = _hour_in(hours, quarter, camera)
        hour.verdicts["ERROR"] += count
        if reason:
            words = " ".join(strip_digits(reason).split())
            hour.reasons[words] += count
            hour.examples[words] = max(hour.examples.get(words, (0, "")), (last_ns, reason))


def _hour_in(hours: _Hours, quarter: int, camera: str) -> Hour:
    key = _hour_of(quarter), camera
    return hours.setdefault(key, Hour(*key))


@cache
def _hour_of(quarter: int) -> datetime:
    return local_time(quarter * _NS_PER_QUARTER).replace(minute=0)
