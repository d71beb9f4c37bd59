"""What systemd hears of a station until it is online, and after."""

from __future__ import annotations

import threading

from mosquitto import until
from scoring import Scoring

from edge.plc.serve import _stay_until_stopped
from edge.plc.station.messages import Recipe, StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker
from edge.service.systemd import SystemdNotifier


class Heard(SystemdNotifier):
    """Keeps what systemd would hear."""

    def __init__(self) -> None:
        super().__init__()
        self.watchdog_s = 0.02
        self.heard: list[str] = []

    def _send(self, message: str) -> None:
        self.heard.append(message)


def test_the_start_is_extended_until_the_station_is_online() -> None:
    """Systemd's patience is over after a minute; a camera may be switched on later."""
    opened, stop, notifier = threading.Event(), threading.Event(), Heard()

    class Opening(Scoring):
        def load(self, recipe_id: int, progress: object) -> Recipe:
            opened.wait(10)
            return super().load(recipe_id, progress)

    with Station(ThreadWorker(Opening()), options=StationOptions()) as station:
        staying = threading.Thread(
            target=_stay_until_stopped,
            args=(station,),
            kwargs={
                "every_s": None,
                "notifier": notifier,
                "stop": stop,
                "reload": threading.Event(),
                "say": print,
            },
        )
        staying.start()
        until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in notifier.heard, "not extended", within_s=5)
        opened.set()
        station.wait_ready(10)
        notifier.heard.clear()
        until(lambda: notifier.heard.count("WATCHDOG=1") > 2, "it does not live", within_s=5)
        stop.set()
        staying.join()
    assert set(notifier.heard[1:]) == {"WATCHDOG=1", "STOPPING=1"}
