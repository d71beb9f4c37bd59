"""A station, a broker, and somebody who listens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mosquitto import ABSENT, Broker, Heard, listening, publish, until
from scoring import Scoring

from edge.plc.station.messages import StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker


@pytest.fixture
def station() -> Iterator[Station]:
    options = StationOptions(name="flange", deadline_ms=5000.0)
    with Station(ThreadWorker(Scoring()), options=options) as station:
        station.wait_ready(10)
        yield station


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if ABSENT:
        pytest.skip(ABSENT)
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def heard(broker: Broker, tmp_path: Path) -> Iterator[Heard]:
    with listening(broker, tmp_path) as heard:
        # It is there as soon as it hears something.
        def hears() -> bool:
            publish(broker, "tests/hello", "-m", "hello")
            return bool(heard.messages("tests/hello"))

        until(hears, "the subscriber hears nothing")
        yield heard
