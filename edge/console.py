"""What the commands print: progress and notes on stderr, figures or one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Print a line for a person on stderr, as it is."""
    ERR.print(line, markup=False)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; no NaN, since JSON has none."""
    sys.stdout.write(json.dumps(content, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_table(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values; None shows as a dash."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, text_of(value))
    OUT.print(table)


def print_columns(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table with a head."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(text_of(value) for value in row))
    OUT.print(table)


def text_of(value: object) -> str:
    """A value as text: floats with four digits."""
    from rich.markup import escape

    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))


class StageBars:
    """A progress bar a stage, with its time; plain lines where stderr is no terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, share: float) -> None:
        """Move a stage's bar; makes it at the first call."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1.0)
        self._progress.update(self._tasks[name], completed=share)
        if share >= 1.0:
            self._progress.stop_task(self._tasks[name])


@contextmanager
def stage_bars() -> Iterator[StageBars]:
    """Bars for the stages of long work."""
    columns = (TextColumn("{task.description:<18}"), BarColumn(28), TimeElapsedColumn())
    with Progress(*columns, console=ERR) as progress:
        yield StageBars(progress)
