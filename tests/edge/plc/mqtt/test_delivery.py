"""What the MQTT publisher tells a real broker (mosquitto), and when."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mosquitto import ABSENT, ROOT, Broker, Heard, publish, retained, until
from publishing import delivered, inspect, plain

from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.station.station import Station

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
RIG = Path(__file__).resolve().parents[3] / "rig"


def test_each_part_is_told_once_and_never_retained(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with MqttBridge(station, plain(broker)) as bridge:
        inspect(station, range(400, 600))
        until(lambda: len(heard.parts()) >= 200, "results are missing")
        until(lambda: delivered(bridge), "not acknowledged")
        assert bridge.delivery.delivered == bridge.delivery.accepted == 200
    assert heard.parts() == list(range(400, 600))
    assert not any(retained for retained, _ in heard.messages(f"{ROOT}/result"))
    good, bad = heard.json(f"{ROOT}/result")[99:101]
    assert (good["part_id"], good["decision"], good["evaluation"]) == (499, "PASS", "OK")
    assert (bad["decision"], bad["evaluation"], bad["state"]) == ("REJECT", "NOT_OK", "COMPLETED")
    assert (bad["score"], bad["threshold"], bad["error"], bad["defects"]) == (0.5, 0.5, 0, 1)
    assert bad["worst"] == {"x": 1, "y": 2, "width": 3, "height": 4} and good["worst"] is None
    assert (good["schema"], good["station"], good["trigger_id"]) == (1, "flange", 499)
    assert bad["seq"] == good["seq"] + 1 and bad["boot_id"] == station.snapshot().boot_id


def test_availability_is_retained_and_offline_at_the_end(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with MqttBridge(station, plain(broker, heartbeat_s=0.2)):
        until(lambda: len(heard.json(f"{ROOT}/heartbeat")) >= 3, "no heartbeat")
        until(lambda: bool(heard.json(f"{ROOT}/stats")), "no statistics")
    until(lambda: len(heard.messages(f"{ROOT}/availability")) >= 2, "no goodbye")
    assert [body for _, body in heard.messages(f"{ROOT}/availability")] == ["online", "offline"]
    beats = [beat["heartbeat"] for beat in heard.json(f"{ROOT}/heartbeat")]
    assert beats == sorted(set(beats))
    stats = heard.json(f"{ROOT}/stats")[0]
    assert (stats["phase"], stats["fault"], stats["recipe_id"]) == ("ready", False, 1)
    assert stats["counters"]["triggers"] == 0 and stats["mqtt"]["dropped"] == 0
    assert retained(broker, f"{ROOT}/availability") == "offline"


def test_a_results_topic_has_nothing_for_who_comes_late(station: Station, broker: Broker) -> None:
    with MqttBridge(station, plain(broker)) as bridge:
        inspect(station, range(1))
        until(lambda: bridge.delivery.delivered == 1, "not delivered")
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-W", "1"]
        late = subprocess.run(
            [*command, "-t", f"{ROOT}/result"], capture_output=True, text=True, check=False
        )
    assert late.stdout == ""


def test_an_offline_that_sticks_is_corrected(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with MqttBridge(station, plain(broker)):
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        publish(broker, f"{ROOT}/availability", "-m", "offline", "-r", "-q", "1")
        until(lambda: len(heard.messages(f"{ROOT}/availability")) >= 3, "not corrected")
        assert retained(broker, f"{ROOT}/availability") == "online"


PUBLISHES = """
import sys, time
sys.path.insert(0, {rig!r})
from scoring import Scoring
from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.mqtt.section import MqttSection
from edge.plc.station.station import Station
from edge.plc.station.messages import StationOptions
from edge.plc.station.thread_worker import ThreadWorker
with Station(ThreadWorker(Scoring()), options=StationOptions(name="flange")) as station:
    station.wait_ready(10)
    section = MqttSection(host="127.0.0.1", port={port}, plain=True, keepalive_s=1)
    with MqttBridge(station, section):
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_last_will_of_a_process_that_dies_or_hangs(
    broker: Broker, heard: Heard, number: signal.Signals
) -> None:
    script = PUBLISHES.format(rig=str(RIG), port=broker.port)
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online", within_s=60)
        process.send_signal(number)
        until(lambda: len(heard.messages(f"{ROOT}/availability")) >= 2, "no last will")
    finally:
        process.kill()
        process.wait()
    assert heard.messages(f"{ROOT}/availability")[-1] == (False, "offline")


def test_what_was_decided_just_before_the_end_is_published(
    station: Station, broker: Broker, heard: Heard
) -> None:
    """Nobody waits for the bridge to be told: closing it does."""
    with MqttBridge(station, plain(broker)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        inspect(station, range(100))
    assert (bridge.delivery.accepted, bridge.delivery.delivered) == (100, 100)


def test_version_3_1_1(station: Station, broker: Broker, heard: Heard) -> None:
    with MqttBridge(station, plain(broker, version="3.1.1")) as bridge:
        inspect(station, range(20))
        until(lambda: bridge.delivery.delivered == 20, "not delivered")
    until(lambda: len(heard.parts()) == 20, "not delivered")
