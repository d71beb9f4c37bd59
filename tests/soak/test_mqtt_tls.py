"""Many encrypted connections that publish as fast as they can: none is lost, nothing crashes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority, authority
from mosquitto import ABSENT, Broker, until
from publishing import inspect
from scoring import Scoring

from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.mqtt.section import MqttSection
from edge.plc.station.messages import StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(ABSENT), reason=ABSENT)]
AT_ONCE, PARTS = 10, 60


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    return authority(tmp_path, name="broker")


@pytest.fixture
def broker(tmp_path: Path, own: Authority) -> Iterator[Broker]:
    secured = (f"cafile {own.ca}", f"certfile {own.certificate}", f"keyfile {own.key}")
    broker = Broker(tmp_path, (*secured, "allow_anonymous true"))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns five hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_two_hundred_connections_publish_and_none_is_lost(
    broker: Broker, own: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    delivered: list[int] = []

    def publish(name: str) -> None:
        section = MqttSection(
            host="127.0.0.1", port=broker.port, ca=own.ca, heartbeat_s=0.01, stats_s=0.01
        )
        options = StationOptions(name=name, deadline_ms=20_000.0)
        with Station(ThreadWorker(Scoring()), options=options) as station:
            station.wait_ready(10)
            with MqttBridge(station, section) as bridge:
                inspect(station, range(PARTS))
                until(lambda: bridge.delivery.waiting == 0, "not delivered")
            delivered.append(bridge.delivery.delivered)

    for batch in range(20):
        threads = [
            threading.Thread(target=publish, args=(f"s{batch}x{n}",)) for n in range(AT_ONCE)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert delivered == [PARTS] * 20 * AT_ONCE
    assert "connection lost" not in caplog.text
