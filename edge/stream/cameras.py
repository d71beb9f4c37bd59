"""Which cameras are meant: the command line over `[cameras.NAME]` over `[stream]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from edge.config import CameraSection, Config, ConfigError, find_bundle
from edge.parse import roi_from_text
from edge.result import Roi
from engines.choose import AUTO

Value = TypeVar("Value")
STALL_AFTER = 1.0  # s


@dataclass(frozen=True, slots=True)
class Watch:
    """What the user asked for; None takes `edge.toml`'s word, then the default.

    Attributes:
        sources: what `cameras.connect.open_source` takes, or names of cameras in `edge.toml`.
        deadline_ms: from a frame to its result, then ERROR.
        triggered: a part for each trigger, and not for each frame.
    """

    sources: tuple[str, ...] = ()
    bundle: Path | None = None
    engine: str | None = None
    show: bool | None = None
    record: Path | None = None
    results: Path | None = None
    database: Path | None = None
    pictures: Path | None = None
    keep: Path | None = None
    monitor: str | None = None
    threshold: float | None = None
    min_area: int | None = None
    ignore: Path | None = None
    max_frames: int | None = None
    stall_after: float | None = None
    deadline_ms: float | None = None
    triggered: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """One camera, and how its frames are judged.

    Attributes:
        name: empty where there is only one, unnamed.
        source: what `cameras.connect.open_source` takes.
        bundle: the bundle's folder.
        engine: ``auto`` or the name of one.
        threshold: in place of the bundle's own; None leaves it.
        min_area: likewise, in pixels of the frame.
        ignore: picture that is white where nothing counts.
        roi: (x, y, width, height) in pixels of the frame, in place of the bundle's own.
        stall_after: seconds without a frame after which the verdict is ERROR.
        deadline_ms: from a frame to its result, then ERROR; None leaves it to the source's kind.
        options: of the source, as in its query.
        health_off: signs of a bad picture that are not looked for.
    """

    name: str
    source: str
    bundle: Path
    engine: str = AUTO
    threshold: float | None = None
    min_area: int | None = None
    ignore: Path | None = None
    roi: Roi | None = None
    stall_after: float = STALL_AFTER
    deadline_ms: float | None = None
    options: Mapping[str, str | float] = field(default_factory=dict)
    health_off: tuple[str, ...] = ()


def wanted_cameras(options: Watch, config: Config) -> list[Wanted]:
    """The cameras that the user means.

    One source alone has no name. Several have: those of `edge.toml` their own, others a number.

    Raises:
        ConfigError: no source, no bundle, or one camera twice.
    """
    named = config.cameras
    sources = options.sources or tuple(named) or _alone(config)
    if not sources:
        raise ConfigError(
            "no source: name one, such as /dev/video0, or set stream.source in edge.toml"
        )
    if len(sources) == 1 and sources[0] not in named:
        return [_wanted("", CameraSection(source=sources[0]), options, config)]
    found = [
        _wanted(source, named[source], options, config)
        if source in named
        else _wanted(f"camera{number}", CameraSection(source=source), options, config)
        for number, source in enumerate(sources, start=1)
    ]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)}: the same camera twice; name each once")
    return found


def first(*values: Value | None) -> Value | None:
    """The first that is given."""
    return next((value for value in values if value is not None), None)


def _alone(config: Config) -> tuple[str, ...]:
    return (config.stream.source,) if config.stream.source else ()


def _wanted(name: str, own: CameraSection, options: Watch, config: Config) -> Wanted:
    shared = config.stream
    roi = first(own.roi, shared.roi)
    return Wanted(
        name=name,
        source=own.source,
        bundle=find_bundle(options.bundle or own.bundle, config),
        engine=first(options.engine, own.engine, shared.engine) or AUTO,
        threshold=first(options.threshold, own.threshold, shared.threshold),
        min_area=first(options.min_area, own.min_area, shared.min_area),
        ignore=first(options.ignore, own.ignore, shared.ignore),
        roi=roi_from_text(roi) if roi is not None else None,
        stall_after=first(options.stall_after, own.stall_after, shared.stall_after) or STALL_AFTER,
        deadline_ms=first(options.deadline_ms, own.deadline_ms, shared.deadline_ms),
        options=own.options,
        health_off=first(own.health_off, shared.health_off) or (),
    )
