"""A station that publishes to a broker."""

from __future__ import annotations

from mosquitto import Broker, until

from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.mqtt.section import MqttSection
from edge.plc.station.station import Station


def inspect(station: Station, parts: range) -> None:
    for part in parts:
        station.wait_ready(10)
        station.inspect(trigger_id=part % 65536, part_id=part)


def told(bridge: MqttBridge, results: int) -> None:
    """Wait until the bridge was given that many: the station tells it in a thread of its own."""
    until(lambda: bridge.delivery.accepted == results, "the bridge was not told")


def plain(broker: Broker, **more: object) -> MqttSection:
    return MqttSection.model_validate(
        {"host": "127.0.0.1", "port": broker.port, "plain": True, **more}
    )


def delivered(bridge: MqttBridge) -> bool:
    return bridge.delivery.waiting == 0
