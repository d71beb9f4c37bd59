"""What is published where: topics, and payloads in JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge.plc.address_map import MapRow
from edge.plc.station.snapshot import SCHEMA, InspectionResult, Snapshot

ONLINE = b"online"
OFFLINE = b"offline"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the results.

    Attributes:
        accepted: put into the queue.
        delivered: acknowledged by the broker.
        dropped: thrown away: the queue was full, the result too old, or the broker refused it.
        waiting: still in the queue or on their way; the four add up.
    """

    accepted: int = 0
    delivered: int = 0
    dropped: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Topics:
    """A station's topics, below ``prefix/site/line/station``.

    Attributes:
        root: what they all begin with.
    """

    root: str

    @property
    def availability(self) -> str:
        """``online`` or ``offline``, retained; ``offline`` is the last will."""
        return f"{self.root}/availability"

    @property
    def heartbeat(self) -> str:
        """JSON, each second while the inference loop lives."""
        return f"{self.root}/heartbeat"

    @property
    def result(self) -> str:
        """JSON, one for each part, never retained."""
        return f"{self.root}/result"

    @property
    def stats(self) -> str:
        """JSON: state and counters."""
        return f"{self.root}/stats"


def payload_from_result(result: InspectionResult) -> bytes:
    """Return the JSON of a result: all of its fields, and some in words."""
    return _json(
        asdict(result)
        | {
            "decision": result.decision.name,
            "evaluation": result.evaluation.name,
            "state": result.state.name,
            "error": int(result.error),
            "error_name": result.error.name,
            "score": _finite(result.score),
            "threshold": _finite(result.threshold),
            "worst": asdict(result.worst) if result.defects else None,
            "acquired_at_ns": result.acquired_at_ns or None,
        }
    )


def heartbeat_from_snapshot(snapshot: Snapshot, *, time_ns: int) -> bytes:
    """Return the JSON of a heartbeat.

    Args:
        snapshot: of the station.
        time_ns: Unix time, UTC.
    """
    return _json(
        {
            "schema": SCHEMA,
            "station": snapshot.station,
            "boot_id": snapshot.boot_id,
            "heartbeat": snapshot.heartbeat,
            "phase": str(snapshot.phase),
            "online": snapshot.online,
            "ready": snapshot.ready,
            "seq": snapshot.seq,
            "time_ns": time_ns,
        }
    )


def stats_from_snapshot(snapshot: Snapshot, delivery: Delivery, *, time_ns: int) -> bytes:
    """Return the JSON of the state and all counters.

    Args:
        snapshot: of the station.
        delivery: of the results.
        time_ns: Unix time, UTC.
    """
    return _json(
        {
            "schema": SCHEMA,
            "station": snapshot.station,
            "boot_id": snapshot.boot_id,
            "phase": str(snapshot.phase),
            "online": snapshot.online,
            "fault": snapshot.fault,
            "error": int(snapshot.error),
            "error_name": snapshot.error.name,
            "reason": snapshot.reason,
            "recipe_id": snapshot.recipe_id,
            "model_hash": snapshot.model_hash,
            "threshold": _finite(snapshot.threshold),
            "counters": asdict(snapshot.counters),
            "mqtt": asdict(delivery),
            "time_ns": time_ns,
        }
    )


def map_rows(root: str = "protoedge/site/line/station") -> Sequence[MapRow]:
    """Return every topic for `edge plc map`."""
    topics = Topics(root)
    return (
        MapRow(
            *("mqtt", topics.availability, "availability", "online | offline", "read"),
            "the bridge is connected; retained, offline is the last will",
        ),
        MapRow(
            *("mqtt", topics.heartbeat, "heartbeat", "JSON", "read"),
            "each second while the inference loop lives, QoS 0",
        ),
        MapRow(
            *("mqtt", topics.result, "result", "JSON", "read"),
            "one for each part, QoS 1, not retained, with expiry",
        ),
        MapRow(
            *("mqtt", topics.stats, "stats", "JSON", "read"),
            "state and counters, each ten seconds and when the state changes, QoS 0",
        ),
    )


def _finite(value: float | None) -> float | None:
    """Return a JSON number; JSON has no NaN and no infinity."""
    return None if value is None or not math.isfinite(value) else float(value)


def _json(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
