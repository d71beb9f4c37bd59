"""The bridges' sections of edge.toml."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel

from edge.plc import bridges
from edge.plc.modbus.section import ModbusSection
from edge.plc.mqtt.section import MqttSection
from edge.plc.opcua.section import OpcuaSection
from edge.plc.station.snapshot import StationError

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


@pytest.mark.parametrize(
    ("bridge", "module", "package"),
    [("modbus", "pymodbus", "pymodbus"), ("mqtt", "paho.mqtt.client", "paho-mqtt")],
)
def test_a_missing_library_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, bridge: str, module: str, package: str
) -> None:
    def fail(_name: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(bridges, "import_module", fail)
    words = rf"{bridge}: {package} is not installed; pip install 'protoedge\[plc\]'"
    with pytest.raises(StationError, match=words):
        bridges.open_bridge(bridge, None, None)  # type: ignore[arg-type]


def test_a_defect_of_our_own_is_no_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> None:
        raise ModuleNotFoundError("No module named 'edge.plc.nothing'", name="edge.plc.nothing")

    monkeypatch.setattr(bridges, "import_module", fail)
    with pytest.raises(ModuleNotFoundError):
        bridges.open_bridge("modbus", None, None)  # type: ignore[arg-type]
