"""A station that publishes to a broker."""

from __future__ import annotations

from mosquitto import Broker, until

from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.mqtt.section import MqttSection
from edge.plc.station.snapshot import (
    DefectBox,
    ErrorCode,
    InspectionResult,
    ResultEvaluation,
    State,
)
from edge.plc.station.station import Station

RESULT = InspectionResult(
    station="flange",
    boot_id=7,
    seq=1,
    trigger_id=2,
    part_id=3,
    recipe_id=1,
    model_hash="",
    evaluation=ResultEvaluation.UNDEFINED,
    state=State.ABORTED,
    error=ErrorCode.DEADLINE,
    reason="späť",
    score=None,
    threshold=0.5,
    defects=0,
    worst=DefectBox(),
    triggered_at_ns=1,
    acquired_at_ns=0,
    decided_at_ns=2,
    acquire_us=0,
    process_us=0,
    latency_us=50_000,
)


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
