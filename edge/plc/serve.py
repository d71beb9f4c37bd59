"""`edge serve`: a station with its bridges in this process, and its worker in another.

What inspects may compute, hang or crash: this process does nothing but answer, and no Python thread
of an engine, a camera or a picture holds up the PLC.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict

from edge.config import Config, ConfigError, find_bundle
from edge.plc.bridges import open_bridge, section_of
from edge.plc.serve_report import StationReport, why_not_online
from edge.plc.serve_results import ResultsFile
from edge.plc.station.messages import JudgeOptions, StationOptions
from edge.plc.station.process_worker import ProcessWorker
from edge.plc.station.snapshot import Phase, Snapshot
from edge.plc.station.station import Station
from edge.service.http_server import open_monitor
from edge.service.signals import stop_on_signals
from edge.service.systemd import SystemdNotifier
from edge.sinks.disk_quota import MIB

SWITCH_S = 0.0005
"""Longest time a thread of this process holds up another: Python's default is 5 ms."""
ALIVE_S = 1.0  # between two signs of life for systemd
WORDS = 0x10000
COMMANDING = frozenset({"modbus", "opcua"})
"""Bridges whose peer can trigger, acknowledge and clear a fault."""


def serve_until_stopped(config: Config, *, say: Callable[[str], None]) -> dict[str, int]:
    """Serve until Ctrl-C or SIGTERM; what was counted.

    Args:
        config: `edge.toml` under the command line.
        say: takes lines for people.

    Raises:
        ConfigError: no source, no bundle, or a section that makes no sense.
        StationError: a bridge cannot be opened.
        MonitorError: as `edge.service.http_server.Monitor` says.
    """
    sections = {name: section_of(name, config) for name in config.station.bridges}
    if not sections and config.station.mode == "triggered":
        raise ConfigError(
            "no bridge: name one, such as --bridge modbus, or set station.bridges in edge.toml"
        )
    judge = _judge(config)
    sys.setswitchinterval(SWITCH_S)
    _quieten_asyncua()
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        worker = ProcessWorker(
            judge,
            recipe_id=config.station.recipe,
            silent_after_s=config.station.silent_after_s,
        )
        opened = _results(config)
        lines = None if opened is None else stack.enter_context(opened)
        station = stack.enter_context(Station(worker, options=_options(config, judge)))
        notifier = SystemdNotifier()
        station.on_change(_Teller(say, notifier))
        if lines is not None:
            station.on_result(lines.write)
        stack.enter_context(_monitored(station, lines, config, say))
        for name, section in sections.items():
            bridge = stack.enter_context(open_bridge(name, station, section))
            say(f"{bridge.where}: serves {config.station.name}")
        # First of all at the end: the part that it cuts short is decided, recorded and published,
        # and the PLC sees why there are no more.
        stack.callback(station.close)
        free = config.station.mode == "free"
        every_s = config.station.every_ms / 1e3 if free else None
        _run(station, every_s=every_s, notifier=notifier, stop=stop)
        return asdict(station.snapshot().counters)


def _monitored(
    station: Station,
    lines: ResultsFile | None,
    config: Config,
    say: Callable[[str], None],
) -> AbstractContextManager[None]:
    """``/healthz`` and ``/metrics`` of the station, if they are asked for."""
    report = StationReport(station, lines=lines)
    station.on_result(report.count)
    return open_monitor(config.life, report.to_json, pictures=None, say=say)


def _quieten_asyncua() -> None:
    """It logs a traceback for whatever a stranger sends; our bridge logs what matters."""
    for name in ("asyncua", "asyncuagds"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _results(config: Config) -> ResultsFile | None:
    path, most = config.station.results, config.station.results_mb
    if path is None:
        return None
    return ResultsFile(path, append=True, max_bytes=None if most is None else most * MIB)


def _judge(config: Config) -> JudgeOptions:
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
        engine=station.engine,
        warm_up=station.warm_up,
        deadline_ms=station.deadline_ms,
        settle_ms=station.settle_ms,
        stall_after_s=station.stall_after_s,
        self_test_s=config.life.self_test_s,
    )


def _options(config: Config, judge: JudgeOptions) -> StationOptions:
    station = config.station
    return StationOptions(
        name=station.name,
        deadline_ms=station.deadline_ms,
        hang_after_s=station.hang_after_s,
        # Where nobody could clear a fault, it ends by itself.
        latch=station.clear_faults == "plc" and bool(COMMANDING & set(station.bridges)),
        recipes=frozenset(judge.recipes),
    )


def _run(
    station: Station, *, every_s: float | None, notifier: SystemdNotifier, stop: threading.Event
) -> None:
    """Tell systemd that the station answers; trigger without a PLC if it shall."""
    alive_s = min(ALIVE_S, (notifier.watchdog_s or 4 * ALIVE_S) / 4)
    count = 0
    pause_s = alive_s if every_s is None else every_s
    due_s = part_s = time.monotonic()
    while not stop.wait(min(pause_s, alive_s)):
        now = time.monotonic()
        if now >= due_s:
            due_s = now + alive_s
            station.snapshot()  # its lock is free
            notifier.alive()
        if every_s is not None and now >= part_s:
            part_s = max(part_s + every_s, now)
            count += _triggered(station, count + 1)
    notifier.stopping()


def _triggered(station: Station, count: int) -> int:
    """Begin a part; a result is shown until then. 1 if it could begin."""
    shown = station.snapshot()
    if shown.valid:
        station.acknowledge()
        shown = station.snapshot()
    if not shown.ready:
        return 0
    station.trigger(trigger_id=count % WORDS, part_id=count)
    return 1


class _Teller:
    """Says in the log when the station becomes ready, and why it no longer is."""

    def __init__(self, say: Callable[[str], None], notifier: SystemdNotifier) -> None:
        self._say = say
        self._notifier = notifier
        self._last = ""

    def __call__(self, shown: Snapshot) -> None:
        line = _line(shown)
        if line and line != self._last:
            self._last = line
            self._say(f"{shown.station}: {line}")
            self._notifier.status(line)
            if line.startswith("online"):
                self._notifier.ready()


def _line(shown: Snapshot) -> str:
    online = shown.phase in (Phase.READY, Phase.RELEASE)
    return why_not_online(shown) or (f"online, recipe {shown.recipe_id}" if online else "")
