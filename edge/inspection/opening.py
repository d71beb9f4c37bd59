"""Load a bundle in a command: what takes long is told, with a bar while a plan is compiled."""

from __future__ import annotations

from pathlib import Path

from edge import console
from edge.inspection.inspector import Inspector, load
from edge.inspection.verdict import IgnoreMask
from engines.choose import AUTO


def open_bundle(
    path: Path,
    *,
    engine: str = AUTO,
    threshold: float | None = None,
    min_area: int | None = None,
    ignore: IgnoreMask | None = None,
) -> Inspector:
    """Load a bundle, ready to inspect; the arguments and errors are those of `load`."""
    with console.late_bar("compiling the plan") as progress:
        return load(
            path,
            engine=engine,
            threshold=threshold,
            min_area=min_area,
            ignore=ignore,
            say=console.say,
            progress=progress,
        )
