"""A station whose PLC has pictures of good parts taken: that of `edge serve`, but no inspection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as NotYetError

from cameras.errors import CameraError
from edge.capturing.triggers import Trigger
from edge.config import Config, ConfigError
from edge.options.names import BridgeName
from edge.plc.bridges import COMMANDING, open_bridge, section_of
from edge.plc.station.messages import NS_PER_S, Answer, Job, Recipe, StationOptions
from edge.plc.station.snapshot import ErrorCode, ResultEvaluation
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker
from edge.result import Say


@contextlib.contextmanager
def open_capture_station(
    config: Config,
    bridges: Sequence[BridgeName],
    trigger: Callable[[int], Trigger],
    *,
    say: Say,
) -> Iterator[None]:
    """Serve a PLC while the block runs: each accepted trigger takes a picture.

    The result is always REJECT with `ErrorCode.NOT_INSPECTED`, or with what went wrong: nothing
    was inspected, and no part may pass because a picture of it was saved.

    Args:
        config: `edge.toml`: the station and its bridges.
        bridges: by name.
        trigger: takes note of a trigger of this monotonic time.
        say: takes lines for people.

    Raises:
        ConfigError: a bridge whose peer cannot trigger, or a section that makes no sense.
        StationError: a bridge cannot be opened.
    """
    for name in bridges:
        if name not in COMMANDING:
            known = ", ".join(sorted(COMMANDING))
            raise ConfigError(f"{name}: nobody can trigger through it; take one of {known}")
    sections = {name: section_of(name, config) for name in bridges}
    station = config.station
    options = StationOptions(
        name=station.name,
        deadline_ms=station.deadline_ms,
        latch=False,
        recipes=frozenset(station.recipes or {station.recipe}),
    )
    worker = ThreadWorker(_PictureInspector(trigger), recipe_id=station.recipe)
    with Station(worker, options=options) as served, contextlib.ExitStack() as stack:
        for name, section in sections.items():
            bridge = stack.enter_context(open_bridge(name, served, section))
            say(f"{bridge.where}: each trigger takes a picture")
        yield


class _PictureInspector:
    """Takes a picture for each job, and judges none; see `edge.plc.station.worker`."""

    def __init__(self, trigger: Callable[[int], Trigger]) -> None:
        self._trigger = trigger

    def load(self, recipe_id: int, progress: Callable[[float], None]) -> Recipe:
        progress(1.0)
        return Recipe(recipe_id)

    def inspect(self, job: Job) -> Answer:
        picture = self._trigger(job.triggered_ns).picture
        left_s = max(0.0, (job.deadline_ns - time.monotonic_ns()) / NS_PER_S)
        try:
            error, reason = ErrorCode.NOT_INSPECTED, f"saved as {picture.result(left_s)}"
        except NotYetError:
            error, reason = ErrorCode.NO_PICTURE, "no picture in time"
        except CameraError as failure:
            error, reason = ErrorCode.NO_PICTURE, str(failure)
        return Answer(job.seq, ResultEvaluation.NOT_DECIDABLE, error, reason)

    def close(self) -> None:
        """Do nothing: the camera is the capture's."""
