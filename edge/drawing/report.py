"""The report of a build: one HTML page that needs nothing else, on screen and on paper."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from edge.drawing.charts import detection_chart, loss_chart, score_chart, trade_off_chart

Value: TypeAlias = str | int | float | None

MAX_COLUMNS_OF_HALF = 4  # of a table in half of the page's width
_IMAGE_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a row may be shorter than the head, never longer."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def __post_init__(self) -> None:
        """Refuse a row that is longer than the head.

        Raises:
            ValueError: there is one.
        """
        for row in self.rows:
            if len(row) > len(self.head):
                raise ValueError(
                    f"table {self.title!r}: a row of {len(row)} cells under "
                    f"{len(self.head)} headings"
                )

    @property
    def is_wide(self) -> bool:
        """Whether it needs the page's whole width."""
        return len(self.head) > MAX_COLUMNS_OF_HALF

    def is_numeric(self, column: int) -> bool:
        """Whether a column holds only numbers and gaps, and so aligns to the right."""
        cells = [row[column] for row in self.rows if column < len(row)]
        return bool(cells) and not any(isinstance(cell, str) for cell in cells)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as an encoded PNG or JPEG file."""

    caption: str
    data: bytes

    def data_uri(self) -> str:
        """The picture as an address that holds it.

        Raises:
            ValueError: it is neither PNG nor JPEG.
        """
        for magic, kind in _IMAGE_TYPES.items():
            if self.data.startswith(magic):
                return f"data:{kind};base64,{base64.b64encode(self.data).decode('ascii')}"
        raise ValueError(f"picture {self.caption!r} is neither PNG nor JPEG; encode it as PNG")


@dataclass(frozen=True, slots=True)
class PictureGroup:
    """Small pictures under one heading, with a sentence that says what to do with them."""

    title: str
    text: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class ThresholdSection:
    """The threshold, and the scores behind it.

    Attributes:
        value: the score from which an image is NG.
        statement: what it promises, such as the bound on false rejects, in one sentence.
        warnings: what the user should know; empty ones are left out.
        good: scores of good images that the prototypes were not learnt from.
        defects: scores of defective images; may be empty.
    """

    value: float
    statement: str
    warnings: Sequence[str] = ()
    good: Sequence[float] = ()
    defects: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Scores of labelled images, from which escapes against false rejects are drawn.

    Attributes:
        good, defects: of each kind; without one of them nothing is drawn.
        marked: thresholds beside the one in use.
    """

    good: Sequence[float]
    defects: Sequence[float]
    marked: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """How a training went.

    Attributes:
        title: heading.
        losses: of every step.
        validations: (step, figure from 0 to 1; None where it is undefined).
    """

    title: str
    losses: Sequence[float]
    validations: Sequence[tuple[int, float | None]] = ()


@dataclass(frozen=True, slots=True)
class DetectionSection:
    """What is found of defects that were drawn into good images.

    Attributes:
        statement: in one sentence.
        warning: that the inspector is blind; empty when it is not.
        sizes_px: of the defects, rising.
        clear, faint: share found of each size, from 0 to 1; None where none was drawn.
        table: how many of how many.
    """

    statement: str
    warning: str
    sizes_px: Sequence[float]
    clear: Sequence[float | None]
    faint: Sequence[float | None]
    table: Table


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows; every text is escaped, so anything may be passed.

    Attributes:
        title: heading of the page.
        facts: what was built, by name: model, precision, engine and why, prototypes, sizes.
        facts_title: heading of those.
        notes: what else is to be known, a sentence or two each.
        figures: the few numbers that matter most; None shows as a dash.
        threshold: what it promises; None leaves it out.
        trade_off: drawn with the threshold; None leaves it out.
        curve: of a training; None leaves it out.
        detection: of drawn defects; None leaves it out.
        stages_s: seconds by stage.
        tables: further tables.
        groups: small pictures, before the others; one without any is left out.
        pictures: pictures with captions.
    """

    title: str
    facts: Mapping[str, Value]
    facts_title: str = "What was built"
    notes: Sequence[str] = ()
    figures: Mapping[str, Value] = field(default_factory=dict)
    threshold: ThresholdSection | None = None
    trade_off: TradeOff | None = None
    curve: Curve | None = None
    detection: DetectionSection | None = None
    stages_s: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    groups: Sequence[PictureGroup] = ()
    pictures: Sequence[Picture] = ()


def report_html(report: Report) -> str:
    """Write the page: images and styles inside, no script, nothing fetched.

    Raises:
        ValueError: a picture is neither PNG nor JPEG.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    threshold, trade_off, curve = report.threshold, report.trade_off, report.curve
    detection = report.detection
    scores = rates = losses = found = ""
    if threshold is not None:
        scores = score_chart(threshold.good, threshold.defects, threshold=threshold.value)
    if threshold is not None and trade_off is not None:
        rates = trade_off_chart(
            trade_off.good, trade_off.defects, threshold=threshold.value, others=trade_off.marked
        )
    if curve is not None:
        losses = loss_chart(curve.losses, curve.validations)
    if detection is not None:
        found = detection_chart(detection.sizes_px, detection.clear, detection.faint)
    # All are SVG of ours, drawn from numbers alone.
    charts = {
        "score_chart": Markup(scores),
        "trade_off_chart": Markup(rates),
        "loss_chart": Markup(losses),
        "detection_chart": Markup(found),
    }
    tables = [*([detection.table] if detection else []), *report.tables]
    template = environment.get_template("report.html")
    return template.render(report=report, tables=tables, **charts)


def _printable(value: Any) -> Any:
    """Numbers with four figures, None and NaN as a dash, text that is valid Unicode."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\u2013"
    if isinstance(value, float):
        return f"{value:.4g}"
    if type(value) is str:  # names of files need not be valid Unicode; a page must be
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
