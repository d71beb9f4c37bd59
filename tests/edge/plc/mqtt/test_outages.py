"""A broker (mosquitto) that is killed or hangs: no inspection waits, none is lost uncounted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from mosquitto import ABSENT, ROOT, Broker, Heard, until
from publishing import delivered, inspect, plain, told

from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.station.station import Station

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)


def test_results_survive_a_broker_that_is_killed(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with MqttBridge(station, plain(broker)) as bridge:
        inspect(station, range(50))
        until(lambda: len(heard.parts()) >= 50, "not delivered")
        broker.kill()
        inspect(station, range(50, 250))
        told(bridge, 250)
        assert bridge.delivery.waiting >= 200
        broker.start()
        until(lambda: len(set(heard.parts())) >= 250, "not delivered after the restart")
        until(lambda: delivered(bridge), "not acknowledged")
        counts = bridge.delivery
    assert list(dict.fromkeys(heard.parts())) == list(range(250))  # those sent twice count once
    assert (counts.delivered, counts.dropped) == (250, 0)
    assert [body for _, body in heard.messages(f"{ROOT}/availability")][-1] == "offline"


def test_what_exceeds_the_bound_is_counted_and_the_newest_are_kept(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with MqttBridge(station, plain(broker, queue=50, stats_s=0.5)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        broker.kill()
        inspect(station, range(200))
        told(bridge, 200)
        assert (bridge.delivery.waiting, bridge.delivery.dropped) == (50, 150)
        broker.start()
        until(lambda: len(set(heard.parts())) >= 50, "not delivered after the restart")
        until(lambda: delivered(bridge), "not acknowledged")
        assert (bridge.delivery.delivered, bridge.delivery.dropped) == (50, 150)
        until(
            lambda: any(s["mqtt"]["dropped"] == 150 for s in heard.json(f"{ROOT}/stats")),
            "not told",
        )
    # One that was on its way when the broker died is among those that are kept.
    assert len(set(heard.parts()) & set(range(150, 200))) >= 50 - 1


def test_results_that_are_too_old_are_dropped(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with MqttBridge(station, plain(broker, expiry_s=0.5)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        broker.kill()
        until(lambda: not bridge._connected, "outage not noticed")  # what was sent is sent again
        inspect(station, range(20))
        told(bridge, 20)
        time.sleep(0.6)
        broker.start()
        until(lambda: delivered(bridge), "not given up")
        assert bridge.delivery.dropped + bridge.delivery.delivered == 20
        assert bridge.delivery.dropped >= 19


def test_a_broker_that_hangs_delays_no_inspection(station: Station, broker: Broker) -> None:
    with MqttBridge(station, plain(broker, keepalive_s=1)) as bridge:
        inspect(station, range(10))
        until(lambda: bridge.delivery.delivered == 10, "not delivered")
        broker.send(signal.SIGSTOP)
        begun = time.monotonic()
        inspect(station, range(10, 510))
        took = time.monotonic() - begun
        told(bridge, 510)
        assert took < 60
        broker.send(signal.SIGCONT)
        until(lambda: delivered(bridge), "not delivered", within_s=30)
        assert bridge.delivery.delivered == 510


def test_without_a_broker_it_starts_waits_and_ends(
    station: Station, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path)
    begun = time.monotonic()
    with MqttBridge(station, plain(broker)) as bridge:
        inspect(station, range(5))
        told(bridge, 5)
        until(lambda: "Connection refused" in caplog.text, "no word about it")
    assert time.monotonic() - begun < 15
    assert (bridge.delivery.waiting, bridge.delivery.dropped) == (0, 5)
    assert "5 results could not be delivered" in caplog.text
    assert caplog.text.count("Connection refused") == 1
    bridge.close()


def test_what_waits_is_sent_at_the_end(station: Station, broker: Broker, heard: Heard) -> None:
    with MqttBridge(station, plain(broker)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        inspect(station, range(100))
        told(bridge, 100)
    assert bridge.delivery.delivered == 100
    until(lambda: len(heard.parts()) == 100, "not delivered")


def latencies_ms(station: Station, seconds: float, first: int) -> list[float]:
    """From trigger to result, a hundred parts a second; sorted."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        station.wait_ready(10)
        begun = time.perf_counter()
        station.inspect(part_id=first + len(found))
        found.append((time.perf_counter() - begun) * 1e3)
        time.sleep(0.01)
    return sorted(found)


def p99(values: list[float]) -> float:
    return values[len(values) * 99 // 100]


@pytest.mark.soak
def test_a_broker_that_is_away_for_half_a_minute_delays_no_inspection(
    station: Station, broker: Broker, heard: Heard
) -> None:
    """On a quiet machine; the bridge is in the process of the station, which is the worse case."""
    outage_s = float(os.environ.get("EDGE_MQTT_OUTAGE_S", "30"))
    alone = latencies_ms(station, 10.0, 0)
    with MqttBridge(station, plain(broker, queue=1000)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        there = latencies_ms(station, 10.0, 1_000_000)
        until(lambda: delivered(bridge), "not delivered")
        broker.kill()
        away = latencies_ms(station, outage_s, 2_000_000)
        told(bridge, len(there) + len(away))
        broker.start()
        until(lambda: delivered(bridge), "not delivered after the restart")
        counts = bridge.delivery
        until(lambda: len(set(heard.parts())) >= counts.delivered, "not heard")
    for name, values in (("no bridge", alone), ("broker there", there), ("broker away", away)):
        middle = values[len(values) // 2]
        print(f"{name}: {len(values)}, p50 {middle:.3f} p99 {p99(values):.3f} max {values[-1]:.2f}")
    print(counts)
    assert counts.delivered + counts.dropped == counts.accepted
    assert counts.dropped == max(0, len(away) - 1000)
    assert p99(away) - p99(alone) <= 1.0
