"""Line: start and stop what `edge.toml` says of it; see its state, its counts and its rejects."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, Literal

from starlette.routing import Route

from edge.config import Config, read_config
from edge.options import LifeOptions, StreamOptions
from edge.plc.serve import serve_until_stopped
from edge.stream.run import run_streams
from edge.studio.child import JobInput, JobReport
from edge.studio.guard import Asking
from edge.studio.line_monitor import LineMonitor, free_address
from edge.studio.places import pick
from edge.studio.refusals import RefusalError
from edge.studio.studio import (
    LINE,
    Command,
    Query,
    Studio,
    command_route,
    job_routes,
    page_route,
    picture_route,
    state_route,
)

NAME = LINE
SEEN_S = 3.0
"""For which the names of the cameras hold that were seen."""
LineCommand = Literal["stream", "serve"]


class StartLine(Command):
    """What to run.

    Attributes:
        command: `edge stream`, or `edge serve`.
        bundle: name of the one that `edge stream` inspects with; empty for what `edge.toml` says.
        shadow: name of a candidate that judges the same frames; empty for none.
    """

    command: LineCommand
    bundle: str = ""
    shadow: str = ""


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    line = _LineOfStudio(studio)
    return [
        page_route(studio, NAME, lambda _: line.values()),
        state_route(studio, "/line/state", lambda _query, _asking: line.state()),
        picture_route(studio, "/line/picture", line.picture),
        command_route(studio, "/line/start", StartLine, line.start),
        *job_routes(studio, "/line", NAME),
    ]


def commands_of(config: Config) -> list[LineCommand]:
    """What `edge.toml` has enough for."""
    has_source = bool(config.cameras or config.stream.source)
    found: list[LineCommand] = ["stream"] if has_source else []
    return [*found, "serve"] if config.station.bridges else found


def run_line(given: JobInput, report: JobReport) -> JobInput:
    """Run the line in a process of its own, as `edge.toml` says now, until it is told to end."""
    life = LifeOptions(monitor=given["monitor"])
    config = read_config().override(life=life)
    if given["command"] == "serve":
        return dict(serve_until_stopped(config, say=report.say))
    named = {name: given[name] for name in ("bundle", "shadow") if given[name]}
    options = StreamOptions.model_validate({"show": False, **named})
    return run_streams(options, config, say=report.say).to_json()


class _LineOfStudio:
    """The line of this studio, or one that was started elsewhere and has a monitor."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._life = studio.config.life
        self._monitor = LineMonitor(self._life)
        self._seen: tuple[float, dict[str, Any] | None] = 0.0, None

    def values(self) -> dict[str, Any]:
        """What the page is drawn with: what can run, and whether a candidate can run along."""
        stream = self._studio.config.stream
        records = stream.keep is not None or stream.database is not None
        return {"commands": commands_of(self._studio.config), "can_shadow": records}

    def state(self) -> dict[str, Any]:
        """The job, and what the monitor tells: its report and the last rejects."""
        report = self._monitor.report()
        self._seen = time.monotonic(), report
        cameras = self._cameras(report)
        rejects = {name: self._monitor.rejects(name) for name in cameras}
        return {
            "job": self._studio.jobs.latest(NAME),
            "report": report,
            "rejects": rejects,
            "bundles": [*self._studio.places.bundles()],
        }

    def picture(self, query: Query) -> tuple[bytes, str]:
        """A reject's picture, or the newest one of a camera."""
        camera = query.get("camera", "")
        seen_s, report = self._seen
        if report is None or time.monotonic() - seen_s > SEEN_S:  # pictures come by the dozen
            report = self._monitor.report()
        pick(camera, self._cameras(report))
        reject = query.get("reject", "")
        if reject:
            pick(reject, {str(one.get("id")): one for one in self._monitor.rejects(camera)})
        found = self._monitor.picture(camera, reject)
        if found is None:
            raise RefusalError("line.no_picture", HTTPStatus.NOT_FOUND)
        return found, "image/jpeg"

    def start(self, given: StartLine, asking: Asking) -> dict[str, Any]:
        """Start it, and give it the cameras."""
        asking.details |= given.model_dump()
        studio = self._studio
        if given.command not in commands_of(studio.config):
            raise RefusalError("line.not_in_toml")
        if studio.camera.is_capturing:
            raise RefusalError("camera.capturing")
        if not studio.jobs.is_running(NAME) and self._monitor.report() is not None:
            raise RefusalError("line.runs_elsewhere")
        bundles = studio.places.bundles()
        bundle = str(pick(given.bundle, bundles)) if given.bundle else ""
        shadow = str(pick(given.shadow, bundles)) if given.shadow else ""
        studio.camera.close()
        monitor = studio.config.life.monitor or free_address()
        told = {"command": given.command, "bundle": bundle, "shadow": shadow}
        told["monitor"] = monitor
        studio.jobs.start(NAME, run_line, told, by=asking.who)
        self._monitor = LineMonitor(self._life.model_copy(update={"monitor": monitor}))
        return {}

    def _cameras(self, report: dict[str, Any] | None) -> dict[str, Any]:
        cameras = (report or {}).get("cameras")
        return cameras if isinstance(cameras, dict) else {}
