"""`edge plc map` and `edge plc simulate`: tables for engineers, and a PLC without a station."""

from __future__ import annotations

import csv
import io
import json
import socket
from pathlib import Path

import pytest


def test_the_map_has_every_bridge_as_csv(run) -> None:
    outcome = run("plc", "map", "--csv")
    assert outcome.code == 0
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert {row["bridge"] for row in rows} == {"modbus", "opcua", "mqtt"}
    assert set(rows[0]) == {"bridge", "address", "name", "kind", "access", "meaning"}
    assert all(row["address"] and row["meaning"] for row in rows)


def test_the_map_names_what_edge_toml_names(run) -> None:
    Path("edge.toml").write_text('[station]\nname = "press7"\n[mqtt]\nsite = "Halle2"\n')
    rows = json.loads(run("plc", "map", "--json", "--bridge", "mqtt", "--bridge", "opcua").out)
    addresses = [row["address"] for row in rows["rows"]]
    assert any("Halle2" in address and "press7" in address for address in addresses)
    assert any("press7.Status" in address for address in addresses)
    assert not any(row["bridge"] == "modbus" for row in rows["rows"])


def test_the_map_as_a_table(run) -> None:
    outcome = run("plc", "map", "--bridge", "modbus")
    assert outcome.out.startswith("modbus\n")
    assert "TriggerId" in outcome.out


def test_a_map_of_nonsense(run) -> None:
    Path("edge.toml").write_text('[mqtt]\nsites = "x"\n')
    assert "mqtt.sites" in run("plc", "map").line()


def test_simulating_without_a_station(run) -> None:
    pytest.importorskip("pymodbus", reason="pymodbus is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = run("plc", "simulate", "--port", taken.getsockname()[1], "--timeout-s", "1")
    assert outcome.code == 1
    assert "nobody answers; start edge serve" in outcome.line()
