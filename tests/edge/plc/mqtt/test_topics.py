"""What is published where, in JSON."""

from __future__ import annotations

import json

from publishing import RESULT

from edge.plc.mqtt.topics import (
    Delivery,
    Topics,
    heartbeat_from_snapshot,
    map_rows,
    payload_from_result,
    stats_from_snapshot,
)
from edge.plc.station.snapshot import Snapshot


def test_payloads_are_json_without_holes() -> None:
    result = json.loads(payload_from_result(RESULT))
    assert (result["decision"], result["evaluation"], result["error"]) == ("REJECT", "UNDEFINED", 1)
    assert result["score"] is None and result["acquired_at_ns"] is None and result["worst"] is None
    assert result["reason"] == "späť"
    snapshot = Snapshot(station="flange", boot_id=7, threshold=float("nan"), reason="\ud800")
    assert json.loads(stats_from_snapshot(snapshot, Delivery(), time_ns=5))["threshold"] is None
    beat = json.loads(heartbeat_from_snapshot(snapshot, time_ns=5))
    assert (beat["phase"], beat["ready"], beat["time_ns"]) == ("offline", False, 5)


def test_the_map_names_each_topic() -> None:
    topics = Topics("a/b")
    assert [row.address for row in map_rows("a/b")] == [
        *(topics.availability, topics.heartbeat, topics.result, topics.stats)
    ]
