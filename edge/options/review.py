"""The options of `edge review`: which parts are looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge.fields import Count, Finite, OptionsModel, Positive, option, option_of
from edge.options.names import ENGINE, EngineName

Mark = Literal["good", "defective", "ignored"]
"""What a person says of a part, whatever its verdict was."""


class ReviewOptions(OptionsModel):
    """Which of the parts that a station has inspected."""

    verdict: tuple[Literal["OK", "NG", "ERROR"], ...] = option((), "Verdicts.", unset="all")
    camera: str | None = option(None, "Name of the camera.", unset="all cameras")
    since: str | None = option(
        None, "First moment: 2026-01-31, 2026-01-31T06:00, 06:00, 8h or today.", unset="the first"
    )
    until: str | None = option(None, "Moment before which parts count.", unset="the last")


class PartsOptions(ReviewOptions):
    """Which parts are listed, and how."""

    marked: Literal["good", "defective", "ignored", "any", "none"] | None = option(
        None, "What they are marked as.", unset="marked or not"
    )
    sort: Literal["time", "score"] = option("time", "What comes first: the newest, or the highest.")
    limit: Positive = option(50, "Number of parts to list.")
    skip: Count = option(0, "Number of parts to pass over first.")


class TryOptions(OptionsModel):
    """Which threshold is tried, and on which parts."""

    threshold: Finite | None = option(
        None, "Score from which a part is NG.", unset="the bundle's own"
    )
    camera: str | None = option_of(ReviewOptions, "camera")
    engine: EngineName = option("auto", ENGINE)


class MarkOptions(OptionsModel):
    """Who marks parts."""

    by: Annotated[str, Field(max_length=100)] | None = option(
        None, "Who says so.", unset="the user's name"
    )
