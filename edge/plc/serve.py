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

from edge.config import Config, ConfigError
from edge.plc.bridges import COMMANDING, open_bridge, section_of
from edge.plc.recipes import judge_options, say_recipes
from edge.plc.station.decided_part import PictureAddresses, part_from_decision
from edge.plc.station.messages import JudgeOptions, StationOptions
from edge.plc.station.process_worker import ProcessWorker
from edge.plc.station.snapshot import Phase, Snapshot
from edge.plc.station.station import Station
from edge.plc.station_records import (
    StationPictures,
    claim_places,
    open_records,
    page_address,
    picture_addresses,
    recorder_options,
)
from edge.plc.station_report import StationReport, why_not_online
from edge.service.http_server import open_monitor
from edge.service.result_counts import ResultCounts
from edge.service.signals import call_on_hangup, has_terminal, stop_on_signals
from edge.service.systemd import SystemdNotifier
from process.signals import FINISHING_S, end_within

SWITCH_S = 0.0005
"""Longest time a thread of this process holds up another: Python's default is 5 ms."""
ALIVE_S = 1.0  # between two signs of life for systemd
STARTING_S = 30.0  # for which each of them extends a start that goes on
WORDS = 0x10000


def serve_until_stopped(config: Config, *, say: Callable[[str], None]) -> dict[str, int]:
    """Serve until Ctrl-C or SIGTERM; return the counters.

    Args:
        config: `edge.toml` under the command line.
        say: takes lines for people.

    Raises:
        ConfigError: no source, no bundle, or a section that makes no sense.
        StationError: a bridge cannot be opened.
        SinkError: a place of results cannot be written, or another program writes there.
        MonitorError: as `edge.service.http_server.Monitor` says.
    """
    sections = _bridge_sections(config)
    judge = judge_options(config)
    sys.setswitchinterval(SWITCH_S)
    _quieten_asyncua()
    say_recipes(judge, say=say)
    with contextlib.ExitStack() as stack:
        end_within(FINISHING_S)
        stop = stack.enter_context(stop_on_signals())
        reload = threading.Event()
        if not has_terminal():
            stack.enter_context(call_on_hangup(reload.set))
        notifier = SystemdNotifier()
        station, report = _open_station(config, judge, stack, say=say)
        station.on_change(_StatusLine(say, notifier))
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


def _open_station(
    config: Config, judge: JudgeOptions, stack: contextlib.ExitStack, *, say: Callable[[str], None]
) -> tuple[Station, StationReport]:
    """A station with its worker, its records and its page."""
    stack.enter_context(claim_places(config, judge))
    recorder = recorder_options(config, judge)
    worker = ProcessWorker(
        judge,
        recipe_id=config.station.recipe,
        silent_after_s=config.station.silent_after_s,
        recorder=recorder,
    )
    addresses = picture_addresses(config, judge)
    counts = ResultCounts()
    sinks, records = stack.enter_context(open_records(config, counts))
    options = _station_options(config, judge, addresses if recorder else None)
    station = stack.enter_context(Station(worker, options=options))
    station.on_result(
        lambda result: records.put(part_from_decision(result, source=addresses.source))
    )
    report = StationReport(station, worker, counts=counts, sinks=sinks)
    station.on_result(report.count)
    pictures = StationPictures(config.station.name, worker.shown, keep=config.station.keep)
    monitor = stack.enter_context(
        open_monitor(config.life, report.to_json, pictures=pictures, say=say)
    )
    if monitor is not None:
        addresses.page = page_address(config, monitor.host, monitor.port)
    return station, report


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


def _station_options(
    config: Config, judge: JudgeOptions, addresses: PictureAddresses | None
) -> StationOptions:
    station = config.station
    return StationOptions(
        name=station.name,
        deadline_ms=station.deadline_ms,
        hang_after_s=station.hang_after_s,
        # Where nobody could clear a fault, it ends by itself.
        latch=station.clear_faults == "plc" and bool(COMMANDING & set(station.bridges)),
        recipes=frozenset(judge.recipes),
        picture_of=addresses,
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
            if why_not_online(shown):
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
    return why_not_online(shown) or (f"online, recipe {shown.recipe_id}" if online else "")
