"""Keep an engine busy: several calls in flight where it can, one after another where it cannot."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from engines.engine import Engine, Images, Output, PipelinedEngine, Ticket
from engines.errors import EngineError


def infer_each(engine: Engine, batches: Iterable[Images]) -> Iterator[tuple[Output, ...]]:
    """Run each of `batches`; yields what `Engine.infer` gives for it, in the same order, lazily.

    At most `slots` of them are in flight, so a result comes when so many later ones were taken
    from `batches`: made for files and measurements, not for a camera whose newest frame counts.

    Args:
        engine: one that pipelines is used so, any other through `infer`.
        batches: (N, H, W, 3) uint8 BGR each; any N >= 1, and one of more than the engine's batch
            goes through `infer` after what is in flight.

    Raises:
        EngineError: of the first that failed; what is in flight is collected before.
    """
    if not isinstance(engine, PipelinedEngine):
        for images in batches:
            yield engine.infer(images)
        return
    waiting: deque[Ticket] = deque()
    try:
        for images in batches:
            if len(images) > engine.batch:
                while waiting:
                    yield engine.collect(waiting.popleft())
                yield engine.infer(images)
                continue
            if len(waiting) == engine.slots:
                yield engine.collect(waiting.popleft())
            waiting.append(engine.submit(images))
        while waiting:
            yield engine.collect(waiting.popleft())
    finally:
        _drop(engine, waiting)


def _drop(engine: PipelinedEngine, waiting: Iterable[Ticket]) -> None:
    """Collect what nobody wants any more, so that its slots are free for the next caller."""
    for ticket in waiting:
        try:
            engine.collect(ticket)
        except EngineError:
            continue  # the caller has the first error already; these are of the same cause
