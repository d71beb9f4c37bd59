"""What Home Assistant needs to show a station without being configured by hand.

Source: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, one retained message for
each entity, ``{discovery}/{component}/{node}/{entity}/config``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edge.plc.mqtt.topics import OFFLINE, ONLINE, Topics

HEARTBEAT_LOST_AFTER_S = 5
_COUNTED = (("state_class", "total_increasing"),)


@dataclass(frozen=True, slots=True)
class _Entity:
    """One entity; `more` holds the keys of its kind."""

    component: str
    key: str
    name: str
    topic: str
    template: str
    more: tuple[tuple[str, Any], ...] = ()


def discovery_messages(topics: Topics, *, station: str, prefix: str) -> dict[str, bytes]:
    """Return the payload for each topic.

    Args:
        topics: of the station.
        station: its name, as shown.
        prefix: on which Home Assistant listens; ``homeassistant`` unless it was changed there.
    """
    node = re.sub(r"[^A-Za-z0-9_-]", "_", topics.root)
    device = {
        "identifiers": [node],
        "name": station,
        "manufacturer": "protoedge",
        "model": "visual inspection station",
        "sw_version": _version(),
    }
    found = {}
    for entity in _entities(topics):
        config = {
            "name": entity.name,
            "unique_id": f"{node}_{entity.key}",
            "state_topic": entity.topic,
            "value_template": entity.template,
            "availability_topic": topics.availability,
            "payload_available": ONLINE.decode(),
            "payload_not_available": OFFLINE.decode(),
            "device": device,
            "origin": {"name": "protoedge", "sw_version": _version()},
            **dict(entity.more),
        }
        topic = f"{prefix}/{entity.component}/{node}/{entity.key}/config"
        found[topic] = json.dumps(config, ensure_ascii=False).encode()
    return found


def _entities(topics: Topics) -> tuple[_Entity, ...]:
    result, stats, beat = topics.result, topics.stats, topics.heartbeat
    return (
        _Entity("sensor", "decision", "Decision", result, "{{ value_json.decision }}"),
        _Entity(
            *("sensor", "score", "Score", result, "{{ value_json.score }}"),
            (("state_class", "measurement"),),
        ),
        _Entity("sensor", "defects", "Defects", result, "{{ value_json.defects }}"),
        _Entity("sensor", "part", "Part", result, "{{ value_json.part_id }}"),
        _Entity(
            *("sensor", "latency", "Latency", result, "{{ value_json.latency_us / 1000 }}"),
            (("unit_of_measurement", "ms"), ("state_class", "measurement")),
        ),
        _Entity(
            *("binary_sensor", "fault", "Fault", stats, "{{ value_json.fault }}"),
            (("device_class", "problem"), ("payload_on", "True"), ("payload_off", "False")),
        ),
        _Entity(
            *("binary_sensor", "inference", "Inference", beat, "{{ value_json.online }}"),
            (
                ("device_class", "running"),
                ("payload_on", "True"),
                ("payload_off", "False"),
                ("expire_after", HEARTBEAT_LOST_AFTER_S),  # no heartbeat: unavailable
            ),
        ),
        _Entity("sensor", "phase", "Phase", stats, "{{ value_json.phase }}"),
        _Entity("sensor", "recipe", "Recipe", stats, "{{ value_json.recipe_id }}"),
        *(
            _Entity("sensor", key, name, stats, f"{{{{ value_json.counters.{key} }}}}", _COUNTED)
            for key, name in (
                ("passed", "Passed"),
                ("rejected", "Rejected"),
                ("undecided", "Undecided"),
                ("missed", "Missed triggers"),
                ("timeouts", "Deadlines missed"),
            )
        ),
    )


def _version() -> str:
    try:
        return version("protoedge")
    except PackageNotFoundError:  # run from a checkout
        return "0"
