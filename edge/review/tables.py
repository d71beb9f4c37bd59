"""Tables that a spreadsheet opens."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engines.atomic_files import replace_file

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], *, head: Iterable[str]) -> int:
    """Write rows as CSV, in UTF-8 with a byte order mark, which spreadsheets recognise it by.

    A text that begins like a formula gets an apostrophe: a spreadsheet would run it.

    Args:
        path: the file; replaced as a whole.
        rows: values by the name of their column.
        head: the columns.

    Returns:
        How many rows there are.

    Raises:
        OSError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [*head])
    writer.writeheader()
    count = 0
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
        count += 1
    replace_file(path, text.getvalue().encode("utf-8-sig", "backslashreplace"))
    return count


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
