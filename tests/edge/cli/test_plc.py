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
    assert all(row["address"] and row["meaning"] for row in rows)
    assert all(row["address"].isascii() and row["name"].isascii() for row in rows)
    by_name = {row["name"]: row for row in rows if row["bridge"] == "modbus"}
    places = {
        "PartId": ("3", "", "2", "", ""),
        "Score": ("1012", "12", "2", "", ""),
        "Status.OfflineReason": ("1000", "0", "1", "4", "3"),
    }
    for name, place in places.items():
        row = by_name[name]
        assert tuple(row[of] for of in ("holding", "input", "registers", "bit", "bits")) == place
    assert not any(row["holding"] for row in rows if row["bridge"] != "modbus")


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
    assert outcome.err.count("\n") == 1, "pymodbus says nothing of its own"
