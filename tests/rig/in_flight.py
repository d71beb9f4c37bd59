"""Keep all slots of an engine busy, as several cameras that share it do."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from engines.engine import Engine, Images, Output, PipelinedEngine, Ticket


def infer_each(engine: Engine, batches: Iterable[Images]) -> Iterator[tuple[Output, ...]]:
    """What `infer` gives for each batch, in order; `slots` of them in flight if there are any."""
    if not isinstance(engine, PipelinedEngine):
        yield from map(engine.infer, batches)
        return
    waiting: deque[Ticket] = deque()
    try:
        for images in batches:
            if len(waiting) == engine.slots:
                yield engine.collect(waiting.popleft())
            waiting.append(engine.submit(images))
        while waiting:
            yield engine.collect(waiting.popleft())
    finally:
        for ticket in waiting:
            engine.collect(ticket)
