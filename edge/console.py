"""What the commands print: progress and notes on stderr, figures or one JSON object on stdout.

On a terminal tables are folded to its width; elsewhere a line stays a line, whatever its length.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from cameras.redaction import one_line

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)
TELL_EVERY_S = 30.0  # in a log


def say(line: str) -> None:
    """Print a line for a person on stderr, as it is."""
    ERR.print(printable(line), markup=False, emoji=False)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; no NaN, since JSON has none."""
    sys.stdout.write(json.dumps(content, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_table(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Print a title, then names and values; None shows as a dash."""
    _print(title, (), [(printable(name), text_from_value(value)) for name, value in rows])


def print_columns(title: str, head: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a title, then a table with a head."""
    _print(title, head, [tuple(text_from_value(value) for value in row) for row in rows])


def text_from_value(value: object) -> str:
    """A value as text: floats with four digits, several values with commas between them."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text_from_value(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(text_from_value(item) for item in value) or "-"
    return printable(str(value))


def printable(text: str) -> str:
    """Text on one line that any stream takes and no terminal obeys: a file may have any name."""
    return one_line(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


class StageBars:
    """A progress bar a stage, with its time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, share: float) -> None:
        """Move a stage's bar; makes it at the first call."""
        self._progress.update(self._task(name), completed=share)
        if share >= 1.0:
            self._progress.stop_task(self._tasks[name])

    def tell(self, name: str, line: str) -> None:
        """Write how a stage goes behind its bar."""
        self._progress.update(self._task(name), line=line)

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1.0, line="")
        return self._tasks[name]


class StageLines:
    """A plain line a stage, when it is done: for logs."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._begun: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        self._done: set[str] = set()

    def show(self, name: str, share: float) -> None:
        """Write the line once the stage is done."""
        begun = self._begun.setdefault(name, time.monotonic())
        if share >= 1.0 and name not in self._done:
            self._done.add(name)
            self._write(f"{name}: {time.monotonic() - begun:.1f} s")

    def tell(self, name: str, line: str) -> None:
        """Write how a stage goes, now and then."""
        now = time.monotonic()
        if now - self._told_at.setdefault(name, now) >= TELL_EVERY_S:
            self._told_at[name] = now
            self._write(f"{name}: {line}")


_shown: list[StageBars | StageLines] = []
"""The bars on the screen: there can be but one set of them."""


@contextmanager
def stage_bars() -> Iterator[StageBars | StageLines]:
    """Bars for the stages of long work; lines where stderr is no terminal."""
    with _new_bars() as bars:
        _shown.append(bars)
        try:
            yield bars
        finally:
            _shown.remove(bars)


@contextmanager
def late_bar(name: str) -> Iterator[Callable[[float], None]]:
    """A bar that appears when it first moves: among those on the screen, or of its own."""
    with ExitStack() as stack:

        def show(share: float) -> None:
            if not _shown:
                stack.enter_context(stage_bars())
            _shown[-1].show(name, share)

        yield show


@contextmanager
def _new_bars() -> Iterator[StageBars | StageLines]:
    if not ERR.is_terminal:
        yield StageLines(say)
        return
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(28),
        TextColumn("{task.elapsed:>6.1f} s"),
        TextColumn("{task.fields[line]}"),
    )
    with Progress(*columns, console=ERR) as progress:
        yield StageBars(progress)


def _print(title: str, head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    if OUT.is_terminal:
        _print_folded(title, head, rows)
        return
    lines = [tuple(head), *rows] if head else list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)] if lines else []
    sys.stdout.write(f"{printable(title)}\n")
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.flush()


def _print_folded(title: str, head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    OUT.print(Text(printable(title), style="bold"))
    table = Table(show_header=bool(head), box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in head or ("", ""):
        table.add_column(name, overflow="fold")
    if not head:
        table.columns[0].style = "cyan"
        table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*map(Text, row))
    OUT.print(table)
