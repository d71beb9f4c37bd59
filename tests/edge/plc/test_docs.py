"""The pages of the bridges say what the code does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from edge.plc.mqtt.section import MqttSection
from edge.plc.opcua.nodes import CONTROL, METHODS, RESULT, STATUS
from edge.plc.opcua.section import OpcuaSection

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_every_node_and_method_is_in_the_table() -> None:
    lines = (DOCS / "opcua.md").read_text(encoding="utf-8").splitlines()
    wanted = [
        f"| `{group}.{node.name}` | {node.kind} | {node.meaning} |"
        for group, nodes in (("Status", STATUS), ("Result", RESULT), ("Control", CONTROL))
        for node in nodes
    ]
    assert [line for line in lines if re.match(r"\| `(Status|Result|Control)\.", line)] == wanted
    for method in METHODS:
        (line,) = [line for line in lines if line.startswith(f"| `{method.name}` |")]
        assert method.meaning in line
        for argument in (*method.takes, *method.gives):
            assert f"{argument.name} {argument.kind}" in line


@pytest.mark.parametrize(("name", "section"), [("opcua", OpcuaSection), ("mqtt", MqttSection)])
def test_the_example_names_every_key_with_its_default(
    name: str, section: type[OpcuaSection] | type[MqttSection]
) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    block = re.search(rf"```toml\n(\[{name}\]\n.*?)```", text, re.DOTALL)
    assert block is not None
    told = tomllib.loads(block[1])[name]
    section.model_validate(told)
    whole = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", block[1], flags=re.MULTILINE))[name]
    assert set(whole) == set(section.model_fields)
    for key in set(whole) - set(told):
        default = section.model_fields[key].default
        # A switch is shown as it would be turned on, and what has no default by an example.
        if default is not None and default is not False:
            assert type(default)(whole[key]) == default, key
