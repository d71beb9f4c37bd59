"""An inspector that nobody closed, and nobody can any more: told, and its engine released."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from edge.inspection.deadline import DeadlineRunner
from engines.engine import Engine
from process.forks import Birthplace


def close_unclosed(
    engine: Engine, runners: Sequence[DeadlineRunner], bundle: Path, birthplace: Birthplace
) -> None:
    """Tell of it and close the engine, unless it is another process's.

    Args:
        engine: of the inspector that is gone.
        runners: what kept its deadlines.
        bundle: that it was loaded from.
        birthplace: of the inspector.
    """
    if birthplace.why_not_here():
        return
    try:
        warnings.warn(
            f"{bundle}: an inspector was left unclosed; use `with edge.load(...)`, or close it",
            ResourceWarning,
            stacklevel=2,
        )
    finally:
        for runner in runners:
            runner.close()
        engine.close()
