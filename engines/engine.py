"""The one protocol that every engine follows, and what an engine adds that works ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NewType, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Precision = Literal["fp32", "fp16", "int8"]
Images: TypeAlias = npt.NDArray[np.uint8]  # (N, H, W, 3) BGR
Output: TypeAlias = npt.NDArray[Any]
Ticket = NewType("Ticket", int)
"""Stands for one `submit` until its `collect`; never given out twice by an engine."""
EXACT = "exact/"
"""How the names of nodes begin that must compute in float32, whatever the precision of the rest.

The precision stage leaves them alone, and so does an engine that may otherwise choose a cheaper
arithmetic."""


@dataclass(frozen=True, slots=True)
class LayerTime:
    """How long one layer took for one call.

    Attributes:
        name: the engine's own: a node of the graph, or what it made of several.
        kind: of the layer, such as ``Convolution``; empty if the engine doesn't say.
        kernel: what computed it; empty if the engine doesn't say.
        ms: that it took.
    """

    name: str
    kind: str
    kernel: str
    ms: float


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is opened with.

    Attributes:
        precision: of the graph.
        plans: folder that keeps compiled plans, such as a bundle's ``engines``; None compiles anew
            each time.
        threads: of a CPU engine; None lets it choose.
        say: receives a line about what takes long, such as why a plan is compiled again.
        batch: images that a plan takes at once, at most; a graph of one image has plans for one.
        callers: that share the engine, each with an image at a time: so many images of a plan's
            batch are computed at once.
        device: number of the GPU that runs it; None is the one that is current, or the first.
        progress: receives the share of a plan's compilation that is done, while it is opened.
        tell_layer: receives each layer's time, of each `infer`, at the latest when the engine is
            closed. Measuring costs time, and such an engine keeps no compiled graph on a CPU.
    """

    precision: Precision
    plans: Path | None = None
    threads: int | None = None
    say: Callable[[str], None] | None = None
    batch: int = 1
    callers: int = 1
    device: int | None = None
    progress: Callable[[float], None] | None = None
    tell_layer: Callable[[LayerTime], None] | None = None


def say_nothing(line: str) -> None:
    """What stands for a `say` that was not given."""


class Engine(Protocol):
    """A graph, ready to run; complete at birth, released by `close` or at the end of `with`.

    Attributes:
        name: key in `engines.choose.ENGINES`, such as ``openvino``.
        device: what executes it, in words, such as ``AMD EPYC 9755``.
        executes: the arithmetic that really runs, such as ``f32``, ``bf16``, ``int8+bf16``.
        outputs: names of the graph's outputs, in the order in which `infer` returns them.
        size: (height, width) of the images that it takes.
    """

    name: str
    device: str
    executes: str
    outputs: Sequence[str]
    size: tuple[int, int]

    def infer(self, images: Images) -> tuple[Output, ...]:
        """Run (N, H, W, 3) uint8 BGR images; any N, N >= 1.

        Returns:
            One array per graph output, first axis N. For an inspector's graph:
            ``(anomaly_map (N, H, W) float32, pred_score (N,) float32)``.
            The arrays belong to the caller and stay valid after the next call.

        Raises:
            EngineError: wrong shape or type, or the device failed.
        """
        ...

    def close(self) -> None:
        """Release everything; a second call does nothing."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class PipelinedEngine(Engine, Protocol):
    """An engine that takes the next images while it still works on earlier ones.

    One thread may submit while another collects; `infer` and `close` want the engine for
    themselves.

    Attributes:
        batch: images that one `submit` takes at most.
        slots: how many submitted and not yet collected tickets there may be, at least 1.
    """

    batch: int
    slots: int

    def submit(self, images: Images) -> Ticket:
        """Begin with (N, H, W, 3) uint8 BGR images, 1 <= N <= `batch`, and don't wait.

        The images are the caller's again when this returns.

        Raises:
            EngineError: wrong shape or type, all `slots` are taken, or the device failed; there is
                no ticket then, and nothing to collect.
        """
        ...

    def collect(self, ticket: Ticket) -> tuple[Output, ...]:
        """Wait for a ticket, in any order, and give what `infer` gives for its images.

        Raises:
            EngineError: the ticket is unknown or was collected before, or the device failed; the
                ticket's slot is free either way.
        """
        ...
