"""`edge serve`: a station with its bridges in this process, and its worker in another.

The process that inspects may compute, hang or crash. This one only answers, so no thread of an
engine or a camera can hold up the PLC.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from edge.config import Config, ConfigError, find_bundle
from edge.given import GivenSettings
from edge.plc.bridges import COMMANDING, open_bridge, section_of
from edge.plc.station.messages import JudgeOptions, StationOptions
from edge.plc.station.port import Bridge, Port
from edge.plc.station.process_worker import ProcessWorker
from edge.plc.station.snapshot import Decision, InspectionResult, Phase, ResultEvaluation, Snapshot
from edge.plc.station.station import Station
from edge.result import Verdict
from edge.service.http_server import open_monitor
from edge.service.result_counts import ResultCounts
from edge.service.signals import call_on_hangup, has_terminal, stop_on_signals
from edge.service.systemd import SystemdNotifier
from edge.sinks.disk_quota import MIB
from edge.sinks.json_lines import JsonLinesFile
from engines.choose import engine_on
from process.signals import FINISHING_S, end_within
from process.threads import FAILURES

SWITCH_S = 0.0005
"""Longest time a thread of this process holds up another: Python's default is 5 ms."""
ALIVE_S = 1.0  # between two signs of life for systemd
STARTING_S = 30.0  # for which each of them extends a start that goes on
WORDS = 0x10000
US_PER_MS = 1e3


def serve_until_stopped(config: Config, *, say: Callable[[str], None]) -> dict[str, int]:
    """Serve until Ctrl-C or SIGTERM; return the counters.

    Args:
        config: `edge.toml` under the command line.
        say: takes lines for people.

    Raises:
        ConfigError: no source, no bundle, or a section that makes no sense.
        StationError: a bridge cannot be opened.
        MonitorError: as `edge.service.http_server.Monitor` says.
    """
    sections = _bridge_sections(config)
    judge = judge_options(config)
    sys.setswitchinterval(SWITCH_S)
    _quieten_asyncua()
    with contextlib.ExitStack() as stack:
        end_within(FINISHING_S)
        stop = stack.enter_context(stop_on_signals())
        reload = threading.Event()
        if not has_terminal():
            stack.enter_context(call_on_hangup(reload.set))
        recipe_id, silent_after_s = config.station.recipe, config.station.silent_after_s
        worker = ProcessWorker(judge, recipe_id=recipe_id, silent_after_s=silent_after_s)
        file = _open_results(config, stack)
        station = stack.enter_context(Station(worker, options=_station_options(config, judge)))
        notifier = SystemdNotifier()
        station.on_change(_StatusLine(say, notifier))
        if file is not None:
            station.on_result(lambda result: file.add(json_from_result(result)))
        report = StationReport(station, file=file, source_trouble=lambda: worker.source_trouble)
        station.on_result(report.count)
        monitor = open_monitor(config.life, report.to_json, pictures=None, say=say)
        stack.enter_context(monitor)
        for name, section in sections.items():
            bridge = stack.enter_context(open_bridge(name, station, section))
            report.add_bridge(bridge)
            say(f"{bridge.where}: serves {config.station.name}")
        # First of all at the end: the part in hand is decided, recorded and published, and the PLC
        # sees why no more follow.
        stack.callback(station.close)
        every_s = config.station.every_ms / 1e3 if config.station.mode == "free" else None
        _stay_until_stopped(
            station, every_s=every_s, notifier=notifier, stop=stop, reload=reload, say=say
        )
        return asdict(station.snapshot().counters)


def json_from_result(result: InspectionResult) -> dict[str, Any]:
    """A part's line in the file of results."""
    return asdict(result) | {"decision": result.decision.name}


class StationReport:
    """What is told of a station, by the names that `edge stream` has; any thread may ask.

    Args:
        station: whose.
        file: where its results go; None where they go nowhere.
        source_trouble: says what is wrong with its source although it works; empty if nothing.
    """

    def __init__(
        self,
        station: Port,
        *,
        file: JsonLinesFile | None,
        source_trouble: Callable[[], str] = str,
    ) -> None:
        self._station = station
        self._source_trouble = source_trouble
        self._file = file
        self._bridges: list[Bridge] = []
        self._counts = ResultCounts()
        self._latest: InspectionResult | None = None
        self._born_s = time.monotonic()

    def add_bridge(self, bridge: Bridge) -> None:
        """Tell of its troubles, too."""
        self._bridges.append(bridge)

    def count(self, result: InspectionResult) -> None:
        """Count a result; to be called with each."""
        self._latest = result
        stages = {"acquire": result.acquire_us, "process": result.process_us}
        self._counts.count(
            _verdict(result),
            latency_ms=result.latency_us / US_PER_MS,
            stages_ms={stage: us / US_PER_MS for stage, us in stages.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        shown = self._station.snapshot()
        reason = "" if shown.online else _why_not_online(shown) or str(shown.phase)
        troubles = [bridge.trouble for bridge in self._bridges]
        troubles += [] if self._file is None else [self._file.losses.trouble]
        of_sinks = len([trouble for trouble in troubles if trouble])
        troubles += [self._source_trouble()]
        troubles += [self._latest.trouble] if self._latest else []
        reasons = {shown.station: reason} if reason else {}
        reasons |= FAILURES.reasons(since_s=self._born_s)
        return {
            "ready": not reasons,
            "reasons": reasons,
            "troubles": [trouble for trouble in troubles if trouble],
            "sinks_in_trouble": of_sinks,
            "not_written": 0 if self._file is None else self._file.losses.total,
            "thread_failures": FAILURES.count,
            "station": self._station_json(shown, reason),
        }

    def _station_json(self, shown: Snapshot, reason: str) -> dict[str, Any]:
        return {
            "name": shown.station,
            "ready": not reason,
            "reason": reason,
            "phase": str(shown.phase),
            "recipe_id": shown.recipe_id,
            "model_hash": shown.model_hash,
            "threshold": shown.threshold,
            "boot_id": shown.boot_id,
            "seq": shown.seq,
            "drift": self._latest.drift if self._latest else "",
            **self._counts.to_json(),
            "counters": asdict(shown.counters),
        }


def _quieten_asyncua() -> None:
    """Silence asyncua, which logs a traceback for whatever a stranger sends; our bridge logs it."""
    for name in ("asyncua", "asyncuagds"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _bridge_sections(config: Config) -> dict[str, Any]:
    if not config.station.bridges and config.station.mode == "triggered":
        raise ConfigError(
            "no bridge: name one, such as --bridge modbus, or set station.bridges in edge.toml"
        )
    return {name: section_of(name, config) for name in config.station.bridges}


def _open_results(config: Config, stack: contextlib.ExitStack) -> JsonLinesFile | None:
    options = config.station
    if options.results is None:
        return None
    limit = options.results_mb * MIB
    lines = JsonLinesFile(options.results, max_bytes=limit, backups=options.results_kept)
    return stack.enter_context(lines)


def judge_options(config: Config) -> JudgeOptions:
    """How the worker inspects, as `edge.toml` under the command line has it.

    Raises:
        ConfigError: no source, no bundle, or a recipe that is none.
    """
    station = config.station
    source = station.source or next(iter(config.stream.source), None)
    if source is None:
        raise ConfigError(
            "no source: name one, such as /dev/video0, or set station.source in edge.toml"
        )
    if station.bundle is not None or station.recipes is None:
        recipes = {station.recipe: find_bundle(station.bundle, config)}
    else:
        recipes = station.recipes
    if station.recipe not in recipes:
        raise ConfigError(
            f"edge.toml: station.recipe {station.recipe}: not one of station.recipes, "
            f"{', '.join(map(str, recipes))}"
        )
    for recipe_id, path in recipes.items():
        if not (path / "manifest.json").is_file():
            raise ConfigError(f"recipe {recipe_id}: {path}: no bundle; make one with `edge build`")
    return JudgeOptions(
        recipes={recipe_id: str(path) for recipe_id, path in recipes.items()},
        source=source,
        engine=engine_on(station.engine, station.device),
        warm_up=station.warm_up,
        deadline_ms=station.deadline_ms,
        settle_ms=station.settle_ms,
        stall_after_s=station.stall_after_s,
        self_test_s=config.life.self_test_s,
        given=GivenSettings.from_options(config.stream),
        bit_depth=station.bit_depth or config.stream.bit_depth,
        free=station.mode == "free",
    )


def _station_options(config: Config, judge: JudgeOptions) -> StationOptions:
    station = config.station
    return StationOptions(
        name=station.name,
        deadline_ms=station.deadline_ms,
        hang_after_s=station.hang_after_s,
        # Where nobody could clear a fault, it ends by itself.
        latch=station.clear_faults == "plc" and bool(COMMANDING & set(station.bridges)),
        recipes=frozenset(judge.recipes),
    )


def _stay_until_stopped(
    station: Station,
    *,
    every_s: float | None,
    notifier: SystemdNotifier,
    stop: threading.Event,
    reload: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Tell systemd that the station answers; without a PLC, trigger every `every_s`.

    When `reload` is set the recipe is loaded anew as soon as no part is at work.
    """
    alive_s = min(ALIVE_S, (notifier.watchdog_s or 4 * ALIVE_S) / 4)
    count = 0
    pause_s = alive_s if every_s is None else every_s
    due_s = part_s = time.monotonic()
    while not stop.wait(min(pause_s, alive_s)):
        now = time.monotonic()
        if now >= due_s:
            due_s = now + alive_s
            shown = station.snapshot()  # its lock is free
            notifier.alive()
            if _why_not_online(shown):
                notifier.extend(STARTING_S)
        if reload.is_set() and _load_anew(station, acknowledge=every_s is not None):
            reload.clear()
            say("SIGHUP: the recipe is being loaded anew")
        if every_s is not None and now >= part_s:
            part_s = max(part_s + every_s, now)
            count += _trigger_next(station, count + 1)
    notifier.stopping()


def _load_anew(station: Station, *, acknowledge: bool) -> bool:
    """Load the recipe again, as the PLC's command does; False while that is not possible."""
    if acknowledge:
        station.acknowledge()
    shown = station.snapshot()
    return shown.ready and station.recipe(shown.recipe_id)


def _trigger_next(station: Station, count: int) -> int:
    """Acknowledge the result, if there is one, and trigger; return 1 if that was possible."""
    shown = station.snapshot()
    if shown.valid:
        station.acknowledge()
        shown = station.snapshot()
    if not shown.ready:
        return 0
    station.trigger(trigger_id=count % WORDS, part_id=count)
    return 1


class _StatusLine:
    """Logs when the station becomes ready, and why it no longer is."""

    def __init__(self, say: Callable[[str], None], notifier: SystemdNotifier) -> None:
        self._say = say
        self._notifier = notifier
        self._last = ""

    def __call__(self, shown: Snapshot) -> None:
        line = _status_line(shown)
        if line and line != self._last:
            self._last = line
            self._say(f"{shown.station}: {line}")
            self._notifier.status(line)
            if line.startswith("online"):
                self._notifier.ready()


def _status_line(shown: Snapshot) -> str:
    online = shown.phase in (Phase.READY, Phase.RELEASE)
    return _why_not_online(shown) or (f"online, recipe {shown.recipe_id}" if online else "")


def _why_not_online(shown: Snapshot) -> str:
    """Why a station accepts no triggers; empty when it does, or is at work."""
    if shown.phase is Phase.FAULT:
        return f"fault {shown.error.value}: {shown.reason}"
    if shown.phase is Phase.OFFLINE:
        return f"offline, {shown.offline_reason.name.lower()}"
    return ""


def _verdict(result: InspectionResult) -> Verdict:
    if result.decision is Decision.PASS:
        return Verdict.OK
    return Verdict.NG if result.evaluation is ResultEvaluation.NOT_OK else Verdict.ERROR
