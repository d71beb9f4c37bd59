"""The bridges' sections of edge.toml."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel

from edge.plc.modbus.section import ModbusSection
from edge.plc.mqtt.section import MqttSection
from edge.plc.opcua.section import OpcuaSection

SECTIONS = (ModbusSection, OpcuaSection, MqttSection)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_says_in_a_sentence_what_it_is(section: type[BaseModel]) -> None:
    for name, field in section.model_fields.items():
        assert field.description is not None, name
        assert field.description[0].isupper() and field.description.endswith("."), name


def test_a_section_needs_no_library_of_its_bridge() -> None:
    program = (
        "import sys\n"
        + "".join(f"import {section.__module__}\n" for section in SECTIONS)
        + "print(sorted({'pymodbus', 'asyncua', 'paho', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
