"""The report of a build: one HTML page that needs nothing else, on screen and on paper."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TypeAlias

from edge.drawing.loss_chart import loss_chart
from edge.drawing.score_chart import score_chart

Value: TypeAlias = str | int | float | None

_TEMPLATE = Path(__file__).with_name("report.html")
_IMAGE_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a row may be shorter than the head, never longer."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as an encoded PNG or JPEG file."""

    caption: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """The threshold, and the scores behind it.

    Attributes:
        threshold: the score from which an image is NG.
        statement: what it promises, such as the bound on false rejects, in one sentence.
        warning: what the user should know; empty when there is nothing.
        good: scores of good images that the prototypes were not learnt from.
        defects: scores of defective images; may be empty.
    """

    threshold: float
    statement: str
    warning: str = ""
    good: Sequence[float] = ()
    defects: Sequence[float] = ()


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
class Report:
    """All that the page shows; every text is escaped, so anything may be passed.

    Attributes:
        title: heading of the page.
        facts: what was built, by name: model, precision, engine and why, prototypes, sizes.
        figures: the few numbers that matter most; None shows as a dash.
        decision: the threshold; None leaves it out.
        curve: of a training; None leaves it out.
        stages_s: seconds by stage.
        tables: further tables.
        pictures: pictures with captions.
    """

    title: str
    facts: Mapping[str, Value]
    figures: Mapping[str, Value] = field(default_factory=dict)
    decision: Decision | None = None
    curve: Curve | None = None
    stages_s: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


def report_html(report: Report) -> str:
    """Write the page: images and styles inside, no script, nothing fetched.

    Raises:
        ValueError: a picture is neither PNG nor JPEG, or a row is longer than its head.
    """
    parts = [_tiles(report.figures), '<div class="columns">', _facts(report.facts)]
    if report.decision is not None:
        parts.append(_decision(report.decision))
    if report.curve is not None:
        parts.append(_curve(report.curve))
    parts += [_table(table) for table in report.tables]
    parts += [_stages(report.stages_s), "</div>", _pictures(report.pictures)]
    body = "\n".join(part for part in parts if part)
    page = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return page.substitute(title=_text(report.title), body=body)


def _tiles(figures: Mapping[str, Value]) -> str:
    tiles = [
        f'<div class="tile"><b>{_text(value)}</b><span>{_text(name)}</span></div>'
        for name, value in figures.items()
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _facts(facts: Mapping[str, Value]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{_text(name)}</th><td>{_text(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f"<section><h2>What was built</h2><table>{rows}</table></section>" if rows else ""


def _decision(decision: Decision) -> str:
    warning = f'<p class="warning">{_text(decision.warning)}</p>' if decision.warning else ""
    chart = score_chart(decision.good, decision.defects, threshold=decision.threshold)
    return (
        f"<section><h2>Threshold {_text(decision.threshold)}</h2>"
        f"<p>{_text(decision.statement)}</p>{warning}{chart}</section>"
    )


def _curve(curve: Curve) -> str:
    chart = loss_chart(curve.losses, curve.validations)
    return f"<section><h2>{_text(curve.title)}</h2>{chart}</section>" if chart else ""


def _table(table: Table) -> str:
    columns = len(table.head)
    for row in table.rows:
        if len(row) > columns:
            raise ValueError(
                f"table {table.title!r}: a row of {len(row)} cells under {columns} headings"
            )
    numeric = [_is_numeric(table.rows, column) for column in range(columns)]
    head = "".join(
        f"<th scope=col{_class(numeric[i])}>{_text(name)}</th>" for i, name in enumerate(table.head)
    )
    rows = "".join(
        "<tr>"
        + "".join(f"<td{_class(numeric[i])}>{_text(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in table.rows
    )
    title = _text(table.title)
    return f"<section><h2>{title}</h2><table><tr>{head}</tr>{rows}</table></section>"


def _is_numeric(rows: Sequence[Sequence[Value]], column: int) -> bool:
    """Whether a column holds only numbers and gaps, and so aligns to the right."""
    cells = [row[column] for row in rows if column < len(row)]
    return bool(cells) and not any(isinstance(cell, str) for cell in cells)


def _class(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _stages(stages_s: Mapping[str, float]) -> str:
    if not stages_s:
        return ""
    usable = [value for value in stages_s.values() if math.isfinite(value)]
    longest = max([*usable, 1e-9])
    rows = "".join(
        f'<div class="stage"><span>{_text(name)}</span>'
        f'<i style="width:{_percent(seconds / longest)}"></i>'
        f"<span>{seconds:.2f} s</span></div>"
        for name, seconds in stages_s.items()
    )
    total = f"{sum(usable):.1f}"
    return f"<section><h2>Time per stage ({total} s together)</h2>{rows}</section>"


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.004), 1):.1f}%" if math.isfinite(share) else "0"


def _pictures(pictures: Sequence[Picture]) -> str:
    figures = "".join(
        f'<figure><img src="{_data_uri(picture)}" alt="{_text(picture.caption)}">'
        f"<figcaption>{_text(picture.caption)}</figcaption></figure>"
        for picture in pictures
    )
    return f'<div class="pictures">{figures}</div>' if figures else ""


def _data_uri(picture: Picture) -> str:
    for magic, kind in _IMAGE_TYPES.items():
        if picture.data.startswith(magic):
            return f"data:{kind};base64,{base64.b64encode(picture.data).decode('ascii')}"
    raise ValueError(f"picture {picture.caption!r} is neither PNG nor JPEG; encode it as PNG")


def _text(value: Value) -> str:
    """Escape; numbers get four figures, None and NaN a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\u2013"
    if isinstance(value, float):
        return f"{value:.4g}"
    # Names of files need not be valid Unicode; a page must be.
    plain = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return html.escape(plain)
