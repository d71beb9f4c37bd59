"""A station behind Modbus TCP, and a PLC in C."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from libmodbus import compiled_plc
from scoring import Scoring

from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.section import ModbusSection
from edge.plc.station.messages import StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker


@pytest.fixture
def judge() -> Scoring:
    return Scoring(inspects_s=0.001)


@pytest.fixture
def station(judge: Scoring) -> Iterator[Station]:
    options = StationOptions(deadline_ms=2000.0, recipes=frozenset({1, 2}))
    with Station(ThreadWorker(judge), options=options) as station:
        station.wait_ready(10)
        yield station


@pytest.fixture
def bridge(station: Station) -> Iterator[ModbusBridge]:
    with ModbusBridge(station, ModbusSection(port=0)) as bridge:
        yield bridge


@pytest.fixture(scope="session")
def plc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_plc(tmp_path_factory.mktemp("plc"))
