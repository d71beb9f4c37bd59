"""A moment in words, as a person gives it: a date, a time, or how long ago."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
NS_PER_S = 1_000_000_000
LAST_NS = (1 << 63) - 1  # in the year 2262: the highest whole number of SQLite


def ns_from_moment(text: str, *, now: datetime | None = None) -> int:
    """Unix time in ns of ``2026-01-31``, ``2026-01-31T06:00``, ``06:00``, ``8h`` or ``today``.

    Without a time zone it is the machine's own time; ``06:00`` is today's, ``8h`` is so long ago.

    Args:
        text: the words.
        now: the moment at which they are said; None is this one.

    Raises:
        ValueError: they are none of these.
    """
    now = now or datetime.now().astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text == "today":
        return _ns_of(midnight)
    ago = _AGO.fullmatch(text)
    is_time = re.fullmatch(r"\d\d:\d\d(:\d\d)?", text)
    moment = f"{midnight:%Y-%m-%d}T{text}" if is_time else text
    try:
        if ago:
            return _ns_of(now - timedelta(**{_UNITS[ago[2]]: float(ago[1])}))
        return _ns_of(datetime.fromisoformat(moment).astimezone())
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text}: no moment; give a date such as 2026-01-31, 2026-01-31T06:00 or 06:00, "
            "how long ago, such as 8h or 2d, or today"
        ) from None


def local_time(ns: int) -> datetime:
    """A Unix time in ns on the machine's clock."""
    return datetime.fromtimestamp(ns / NS_PER_S).astimezone()


def _ns_of(moment: datetime) -> int:
    return min(int(moment.timestamp() * NS_PER_S), LAST_NS)
