"""Settings that are given in place of a bundle's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class SettingsOptions(Protocol):
    """What options of a command have of a bundle's settings."""

    @property
    def threshold(self) -> float | None:
        """Score from which a part is NG."""
        ...

    @property
    def min_area(self) -> int | None:
        """Smallest region, in px of the frame."""
        ...

    @property
    def ignore(self) -> str | Path | None:
        """The mask of what does not count."""
        ...

    @property
    def roi(self) -> tuple[int, int, int, int] | None:
        """The part that is inspected: (x, y, width, height)."""
        ...


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """What a command line or `edge.toml` says in place of a bundle's own; JSON can carry it.

    Attributes:
        threshold, min_area: None is the bundle's own, here and below.
        ignore: path of the mask, or ``none``.
        roi: (x, y, width, height) in px of the frame.
        where: section of `edge.toml`, for messages.
    """

    threshold: float | None = None
    min_area: int | None = None
    ignore: str | None = None
    roi: tuple[int, int, int, int] | None = None
    where: str = "stream"

    @classmethod
    def from_options(cls, options: SettingsOptions, *, where: str = "stream") -> GivenSettings:
        """Of a command line over `edge.toml`."""
        ignore = None if options.ignore is None else str(options.ignore)
        return cls(options.threshold, options.min_area, ignore, options.roi, where)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> GivenSettings:
        """Of its own fields, which JSON has made lists of."""
        roi = content.get("roi")
        return cls(**{**content, "roi": None if roi is None else tuple(roi)})
