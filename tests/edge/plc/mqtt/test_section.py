"""What the section of edge.toml refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.plc.mqtt.section import MAX_UNDER_WAY, MqttSection, topic_from_levels


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_level_is_taken_whole_or_refused(level: str) -> None:
    bad = not level or level.startswith("$") or any(char in "+#/" for char in level)
    if bad or not level.isprintable():
        with pytest.raises(ValueError, match=r"part of a topic|belong to the broker"):
            topic_from_levels("a", level)
    else:
        assert topic_from_levels("a", level) == f"a/{level}"


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"password_file": "password"}, "without user"),
        ({"certificate": "a.pem"}, "belong together"),
        ({"plain": True, "ca": "ca.pem"}, "uses no certificate"),
        ({"site": "a/b"}, "cannot be part of a topic"),
        ({"prefix": "$SYS"}, "belong to the broker"),
        ({"prefix": "#"}, "cannot be part of a topic"),
        ({"line": "a+"}, "cannot be part of a topic"),
        ({"station": "a\0b"}, "cannot be part of a topic|control character"),
        ({"prefix": "a" * 201}, "cannot be part of a topic"),
        ({"prefix": "\ud800"}, "cannot be part of a topic|unicode"),
        ({"client_id": "a\0b"}, "not printable|control character"),
        ({"queue": MAX_UNDER_WAY}, "greater than or equal to 17"),
        ({"insecure": True}, "not permitted"),
        ({"host": "broker..example"}, "not a host name"),
        ({"host": "b" * 64}, "not a host name"),
        ({"host": "a\0b"}, "control character"),
        ({"host": "broker:8883"}, "the port has an option of its own"),
        ({"host": "mqtt://broker"}, "should be a name or an IP address alone"),
        ({"host": ""}, "the text is empty"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(told: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        MqttSection.model_validate(told)


def test_ports_follow_the_encryption() -> None:
    assert MqttSection().broker_port == 8883
    assert MqttSection(plain=True).broker_port == 1883
    assert MqttSection(plain=True, port=2).broker_port == 2
