"""Inspections of the golden image until they are as quick as they will be."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edge.result import Result, Verdict
from engines.errors import EngineError


def warm_up(
    inspect: Callable[[], Result], inspections: int, *, within_ms: float | None, where: Path
) -> float:
    """Milliseconds of the slowest of the last inspections; see `Inspector.warm_up`.

    Raises:
        EngineError: they are not as quick as that, or there is no verdict.
    """
    latest: deque[float] = deque(maxlen=inspections)
    for _ in range(10 * inspections):
        begun = time.perf_counter()
        result = inspect()
        latest.append((time.perf_counter() - begun) * 1e3)
        if result.verdict is Verdict.ERROR:
            raise EngineError(f"{where}: no verdict: {result.reason}")
        if len(latest) == inspections and (within_ms is None or max(latest) <= within_ms):
            return max(latest)
    raise EngineError(
        f"{where}: an inspection takes up to {max(latest):.1f} ms here, longer than "
        f"{within_ms:g} ms; give it longer, or build for a smaller size or lower precision"
    )
