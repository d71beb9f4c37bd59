"""Brokers that refuse, forget, take over and talk nonsense: told once, no result uncounted."""

from __future__ import annotations

import struct
import threading
import time

import pytest
from moody_broker import NOT_AUTHORIZED, TAKEN_OVER, Mood, MoodyBroker, random_mood
from mosquitto import Broker, until
from paho.mqtt.client import Client

from edge.plc.mqtt import bridge as module
from edge.plc.mqtt import connection
from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.mqtt.section import MqttSection
from edge.plc.mqtt.troubles import BACK_OFF_S, STABLE_S, Takeovers
from edge.plc.station.station import Station
from process.threads import FAILURES

TAKES_OVER = Mood(says=bytes([0xE0, 1, TAKEN_OVER]))


def section(broker: MoodyBroker | Broker, **told: object) -> MqttSection:
    values = {"host": "127.0.0.1", "port": broker.port, "plain": True, **told}
    return MqttSection.model_validate(values)


def inspect(station: Station, count: int) -> None:
    for part in range(count):
        station.wait_ready(10)
        station.inspect(part_id=part)


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        (Mood(puback=None), "acknowledges nothing"),
        (Mood(puback=NOT_AUTHORIZED), "the broker refuses messages: Not authorized; check"),
        (Mood(suback=NOT_AUTHORIZED), "does not let us read protoedge/site/line/flange/availab"),
        (Mood(suback=0x80, version5=False), "does not let us read"),
        (TAKES_OVER, "another client takes this one's place"),
        (Mood(connack=NOT_AUTHORIZED), "Not authorized"),
    ],
)
def test_what_a_broker_does_not_do_is_told_once_and_shown(
    station: Station, caplog, monkeypatch, mood: Mood, said: str
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.1)
    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    version = "5" if mood.version5 else "3.1.1"
    with MoodyBroker(mood) as broker:
        with MqttBridge(station, section(broker, version=version)) as bridge:
            until(lambda: said in bridge.trouble, "no word about it", within_s=20)
            inspect(station, 3)
        found = bridge.delivery
    assert found.accepted == found.delivered + found.dropped + found.waiting == 3
    told = [record.getMessage() for record in caplog.records if said in record.getMessage()]
    assert len(told) == 1


def test_bytes_that_the_library_stumbles_over_end_no_bridge(
    station: Station, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(connection, "NO_MQTT_S", 0.05)
    handle, failures = Client._packet_handle, FAILURES.count

    def stumble(client: Client) -> object:
        if broker.connections < 2:  # over the same bytes, however often they are looked at
            raise struct.error("unpack requires a buffer of 2 bytes")
        return handle(client)

    monkeypatch.setattr(Client, "_packet_handle", stumble)
    with MoodyBroker(Mood()) as broker, MqttBridge(station, section(broker)) as bridge:
        inspect(station, 3)
        until(lambda: bridge.delivery.delivered == 3, "it went on")
        until(lambda: bridge.trouble == "", "the trouble is over")
    assert caplog.text.count("what the broker sends is no MQTT 5") == 1
    assert FAILURES.count == failures


def test_one_thread_alone_touches_the_connection(station: Station, monkeypatch) -> None:
    """TLS has one state for both directions, and no lock."""
    touching: set[str] = set()

    def noting(name: str) -> None:
        real = getattr(Client, name)

        def call(client: Client, *given: object) -> object:
            touching.add(threading.current_thread().name)
            return real(client, *given)

        monkeypatch.setattr(Client, name, call)

    for name in ("_sock_send", "_sock_recv", "_create_socket"):
        noting(name)
    with MoodyBroker(Mood()) as broker, MqttBridge(station, section(broker)) as bridge:
        inspect(station, 20)
        until(lambda: bridge.delivery.delivered == 20, "not delivered")
    assert touching == {"edge-mqtt"}


def test_whoever_is_taken_over_backs_off_to_minutes(station: Station, caplog) -> None:
    with MoodyBroker(TAKES_OVER) as broker, MqttBridge(station, section(broker)) as bridge:
        until(lambda: "another client" in bridge.trouble, "it is not recognised")
        seen = broker.connections
        time.sleep(1.0)
        assert broker.connections == seen
        begun = time.monotonic()
    assert time.monotonic() - begun < 10
    assert caplog.text.count("another client takes") == 1


def test_an_older_brokers_short_connections_are_taken_for_the_same() -> None:
    ends = Takeovers()
    assert [ends.note_end(lasted_s=1.0, code=0) for _ in range(3)] == [None] * 3
    assert ends.note_end(lasted_s=1.0, code=0) == BACK_OFF_S[0]
    assert ends.note_end(lasted_s=1.0, code=0) == 2 * BACK_OFF_S[0]
    assert [ends.note_end(lasted_s=1.0, code=0) for _ in range(9)][-1] == BACK_OFF_S[1]
    assert ends.note_end(lasted_s=STABLE_S, code=0) is None
    assert ends.note_end(lasted_s=1.0, code=0) is None
    assert ends.note_end(lasted_s=30.0, code=TAKEN_OVER) == BACK_OFF_S[0]


def test_two_stations_of_one_name_are_two_clients(station: Station) -> None:
    with MoodyBroker(Mood()) as broker:
        with MqttBridge(station, section(broker)) as bridge:
            until(lambda: len(broker.names) == 1, "not connected")
            assert bridge.trouble == ""
        with MqttBridge(station, section(broker, client_id="own")):
            until(lambda: len(broker.names) == 2, "not connected")
    assert broker.names[0].startswith("protoedge-site-line-flange-")
    assert broker.names[0].endswith(f"-{station.snapshot().boot_id}")
    assert broker.names[1] == "own"


@pytest.mark.soak
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_clients_of_one_name_at_a_real_broker_leave_each_other_alone(
    station: Station, broker: Broker, caplog, version: str
) -> None:
    told = section(broker, version=version, client_id="same")
    with MqttBridge(station, told) as one, MqttBridge(station, told) as other:
        until(lambda: "another client" in one.trouble + other.trouble, "it is not recognised")
        time.sleep(1.0)
        lost = caplog.text.count("connection lost")
        time.sleep(3.0)
        assert caplog.text.count("connection lost") == lost <= 8
    assert caplog.text.count("another client takes") == 1


@pytest.mark.parametrize(
    "seeds",
    [range(4), pytest.param(range(4, 54), marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
    ids=["few", "fifty"],
)
def test_no_mood_of_a_broker_ends_a_bridge_or_loses_a_result(station: Station, seeds) -> None:
    failures = FAILURES.count
    for seed in seeds:
        mood = random_mood(seed)
        told = {"version": "5" if seed % 3 else "3.1.1", "keepalive_s": 1}
        with MoodyBroker(mood) as broker:
            with MqttBridge(station, section(broker, **told)) as bridge:
                inspect(station, 5)
                until(lambda: broker.connections > 0, f"{mood} never connected")
                time.sleep(0.2)
                broker.mood = Mood(version5=told["version"] == "5")
                inspect(station, 5)
                assert station.snapshot().online, mood
                begun = time.monotonic()
            assert time.monotonic() - begun < 15, mood
            found = bridge.delivery
            assert found.accepted == found.delivered + found.dropped == 10, mood
    assert FAILURES.count == failures
