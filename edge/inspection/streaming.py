"""Frames as they come, or a program's own images, become results, one by one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from cameras.connect import open_source
from cameras.source import Source
from edge.health.checks import ImageChecks
from edge.health.frame_checker import FrameChecker
from edge.inspection.given_image import ImageLike, frame_from_batch, refuse_one_image
from edge.result import Inspect, Result


def stream_results(
    source: str | int | Path | Iterable[ImageLike | None],
    inspect: Inspect,
    health: Callable[[], ImageChecks],
    *,
    bit_depth: int | None,
    on_open: Callable[[Source], object] = lambda _: None,
) -> Generator[Result, None, None]:
    """Yield what is inspected of a source; see `Inspector.stream`.

    Args:
        source: the name of one, which is opened and closed here, or any iterable.
        inspect: one frame's result.
        health: what makes a picture unfit to be judged.
        bit_depth: of the values in 16-bit files and arrays; None is all 16.
        on_open: told the source that is opened here, which another thread may close.

    Raises:
        TypeError: one image was given, not several.
    """
    if isinstance(source, str | int | Path):
        return _from_source(source, inspect, health, bit_depth=bit_depth, on_open=on_open)
    refuse_one_image(source, instead="use inspect for it")
    return (
        inspect(frame_from_batch(image, index=index, bit_depth=bit_depth))
        for index, image in enumerate(source)
    )


def _from_source(
    source: str | int | Path,
    inspect: Inspect,
    health: Callable[[], ImageChecks],
    *,
    bit_depth: int | None,
    on_open: Callable[[Source], object],
) -> Generator[Result, None, None]:
    with open_source(source, bit_depth=bit_depth) as opened:
        on_open(opened)
        if opened.live:
            inspect = FrameChecker(health, opened).guard(inspect)
        yield from (inspect(frame) for frame in opened)
