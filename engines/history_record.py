"""Who did what with a bundle, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from engines.record import PositiveQuantity, Record

MAX_HISTORY = 500  # events that are remembered


class HistoryRecord(Record):
    """Something that was done with a bundle.

    Attributes:
        when: UTC.
        by: who, such as ``anna@line3``; empty where that is not known.
        what: was done.
        detail: such as ``threshold 0.05 → 0.06``; empty where there is no more to say.
        version: that the bundle before was kept as; of a rollback, the one that was put back; None
            where there is none.
    """

    when: AwareDatetime
    by: Annotated[str, Field(max_length=200)] = ""
    what: Literal["built", "set", "taught", "rolled back", "promoted"]
    detail: Annotated[str, Field(max_length=1000)] = ""
    version: PositiveQuantity | None = None
