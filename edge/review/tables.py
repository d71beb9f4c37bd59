"""Tables that a spreadsheet opens."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cameras.redaction import one_line
from engines.atomic_files import replace_file

_BEGINS = "=+\\-@＝＋－＠"
"""What a formula begins with; the last four are what Excel takes for them in Japanese."""
_FORMULA = re.compile(rf"((?:^|[;,])[\s'\"]*)(?=[{_BEGINS}])")


def write_csv(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    *,
    head: Iterable[str],
    decimal_comma: bool = False,
) -> int:
    """Write rows as CSV, as `csv_from_rows` makes it; a file that is there is replaced as a whole.

    Returns:
        How many rows there are.

    Raises:
        OSError: it cannot be written.
    """
    content, count = csv_from_rows(rows, head=head, decimal_comma=decimal_comma)
    replace_file(path, content)
    return count


def csv_from_rows(
    rows: Iterable[Mapping[str, Any]], *, head: Iterable[str], decimal_comma: bool = False
) -> tuple[bytes, int]:
    """Rows as CSV, in UTF-8 with a byte order mark, which spreadsheets recognise it by.

    A text that begins like a formula gets an apostrophe: a spreadsheet would run it. So does what
    follows a comma or a semicolon within it, since another country's spreadsheet begins a cell
    there. A text has one line.

    Args:
        rows: values by the name of their column.
        head: the columns.
        decimal_comma: for spreadsheets that write 0,5: cells end with semicolons then.

    Returns:
        A file's content, and how many rows there are.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [*head], delimiter=";" if decimal_comma else ",")
    writer.writeheader()
    count = 0
    for row in rows:
        cells = {name: _cell(value, decimal_comma=decimal_comma) for name, value in row.items()}
        writer.writerow(cells)
        count += 1
    return text.getvalue().encode("utf-8-sig", "backslashreplace"), count


def _cell(value: Any, *, decimal_comma: bool) -> Any:
    if isinstance(value, str):
        return _FORMULA.sub(r"\1'", one_line(value))
    return str(value).replace(".", ",") if decimal_comma and isinstance(value, float) else value
