"""Where an engine's time goes: each layer of its graph, as the engine itself measures it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.choose import open_engine
from engines.engine import EngineOptions, Images, LayerTime
from engines.errors import EngineError

MAX_CALLS = 50  # a median needs no more, and ONNX Runtime's profile grows with each


@dataclass(frozen=True, slots=True)
class LayerShare:
    """A layer's part of the time that all of them take together.

    Attributes:
        name: the engine's own: a node of the graph, or what it made of several.
        kind: of the layer; empty if the engine doesn't say.
        kernel: what computed it; empty if the engine doesn't say.
        ms: median of the calls.
        share: of the sum of all layers.
    """

    name: str
    kind: str
    kernel: str
    ms: float
    share: float

    def to_json(self) -> dict[str, Any]:
        """The layer as JSON types."""
        return asdict(self)


def time_layers(
    bundle: Bundle, images: Sequence[Images], *, engine: str, calls: int
) -> tuple[LayerShare, ...]:
    """Time each layer of a bundle's graph, in an engine that is opened for it alone.

    Measuring slows an engine down, and on a GPU there is no CUDA graph meanwhile: the sum is more
    than a call takes otherwise, and what counts is the shares.

    Args:
        bundle: that the engine runs.
        images: (1, h, w, 3) uint8 BGR of the model's size, used in turn; at least one.
        engine: as `engines.choose.choose_engine` takes it.
        calls: how often it runs, at most `MAX_CALLS`.

    Returns:
        The layers that run, slowest first.

    Raises:
        EngineError: the engine fails, or says nothing of its layers.
    """
    told: list[LayerTime] = []
    options = EngineOptions(
        precision=bundle.manifest.precision,
        plans=bundle.plans,
        batch=bundle.manifest.max_batch,
        tell_layer=told.append,
    )
    calls = min(calls, MAX_CALLS)
    with open_engine(bundle.model(), engine=engine, options=options) as opened:
        for turn in range(calls):
            opened.infer(images[turn % len(images)])
        name = opened.name
    if not told:
        raise EngineError(f"{name}: it says nothing of its layers; leave out --layers")
    return shares_of_layers(told, calls=calls)


def shares_of_layers(told: Sequence[LayerTime], *, calls: int) -> tuple[LayerShare, ...]:
    """What was told of several calls, a line a layer, slowest first.

    Medians leave out the first calls, which find cold caches; a name that several layers of a call
    share counts so many times.

    Args:
        told: of all calls, in any order, and of a few to warm up.
        calls: how many there were.
    """
    times: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in told:
        times[one.name, one.kind, one.kernel].append(one.ms)
    found = {
        layer: float(np.median(measured)) * max(round(len(measured) / calls), 1)
        for layer, measured in times.items()
    }
    whole = sum(found.values()) or 1.0
    slowest = sorted(found.items(), key=lambda item: -item[1])
    return tuple(LayerShare(*layer, ms=ms, share=ms / whole) for layer, ms in slowest)
