"""Operating points as a table for a person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.threshold_records import OperatingPointRecord

POINTS_TITLE = "Operating points"
POINTS_HEAD = ("threshold", "held-out rejects", "false rejects", "escapes", "")


def point_rows(
    points: Sequence[OperatingPointRecord], *, used: float
) -> list[tuple[str | float | None, ...]]:
    """A row for each, under `POINTS_HEAD`; that of the build and that in use are marked."""
    return [
        (
            point.threshold,
            _count(point.held_out_rejects, point.held_out_rate),
            _count(point.false_rejects, point.false_reject_rate),
            _count(point.escapes, point.escape_rate),
            _mark(point, used=used),
        )
        for point in points
    ]


def _count(count: int | None, rate: float | None) -> str | None:
    return None if count is None or rate is None else f"{count} ({rate:.1%})"


def _mark(point: OperatingPointRecord, *, used: float) -> str:
    if point.recommended:
        return "recommended"
    return "in use" if np.float32(point.threshold) == np.float32(used) else ""
