"""An inspector that a command loads, with a bar while a plan is compiled."""

from __future__ import annotations

from pathlib import Path

from edge import console
from edge.given import GivenSettings
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_in_use
from engines.bundle import Bundle
from engines.choose import AUTO


def load_with_progress(
    path: Path, *, engine: str = AUTO, given: GivenSettings | None = None
) -> Inspector:
    """Load a bundle in a command, as `load`: with a bar while a plan is compiled."""
    bundle = Bundle.open(path)
    settings = settings_in_use(bundle, given or GivenSettings(), say=console.say)
    with console.late_bar("compiling the plan") as progress:
        return Inspector(
            bundle, settings=settings, engine=engine, say=console.say, progress=progress
        )
