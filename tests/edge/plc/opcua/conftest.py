"""A station behind OPC UA that is open to everybody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opcua_peer import STALLS, free_port
from scoring import Scoring

from edge.plc.opcua.bridge import OpcuaBridge
from edge.plc.opcua.section import OpcuaSection
from edge.plc.station.messages import StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker


@pytest.fixture(scope="session")
def station() -> Iterator[Station]:
    options = StationOptions(name="flange", deadline_ms=5000.0, recipes=frozenset({1, 2}))
    with Station(
        ThreadWorker(Scoring(inspects_s=0.001, stalled=[STALLS], stalls_s=0.3)), options=options
    ) as station:
        station.wait_ready(10)
        yield station


@pytest.fixture(scope="session")
def bridge(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcuaBridge]:
    """A server that is open to everybody."""
    pki = tmp_path_factory.mktemp("pki")
    section = OpcuaSection(port=free_port(), pki=pki, anonymous=True, plain=True)
    with OpcuaBridge(station, section) as bridge:
        yield bridge


@pytest.fixture
def ready(station: Station) -> None:
    """Each test begins with a station that waits for a trigger."""
    station.acknowledge()
    station.wait_ready(10)
