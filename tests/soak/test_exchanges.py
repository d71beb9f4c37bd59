"""Twenty exchanges of an inspector on OpenVINO, then the end by each signal: nothing dies of it."""

from __future__ import annotations

import shutil
import signal

import pytest
from running import Running

pytestmark = pytest.mark.soak
EXCHANGES = 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_ends_well_after_many_exchanges(number, bundle, tmp_path) -> None:
    good = bundle.parent / "images" / "train" / "good"
    words = (f"replay:{good}?fps=10", "--bundle", str(bundle), "--engine", "openvino")
    stream = Running(
        tmp_path, "stream", *words, "--no-show", "--record", "out.mp4", "--monitor", "127.0.0.1:0"
    )

    def reloads() -> int:
        cameras = stream.health().get("cameras", {})
        return cameras[""]["reloads"]["done"] if cameras else -1

    try:
        stream.wait(lambda: reloads() == 0)
        for count in range(1, EXCHANGES + 1):
            stream.process.send_signal(signal.SIGHUP)
            stream.wait(lambda count=count: reloads() >= count)
        assert stream.health()["thread_failures"] == 0
        assert stream.end(number) == 0, stream.log.read_text()
    finally:
        stream.process.kill()
    assert b"moov" in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_station_ends_well_after_many_exchanges(number, bundle, tmp_path) -> None:
    good = bundle.parent / "images" / "train" / "good"
    own = shutil.copytree(bundle, tmp_path / "own.edge")
    (tmp_path / "edge.toml").write_text(
        f'[station]\nsource = "{good}"\nbundle = "{own}"\nengine = "openvino"\nmode = "free"\n'
        'every_ms = 50\ndeadline_ms = 30000\n[life]\nmonitor = "127.0.0.1:0"\n'
    )
    station = Running(tmp_path, "serve")
    loaded = "the recipe is being loaded anew"
    try:
        station.wait(lambda: "online, recipe" in station.log.read_text())
        for count in range(1, EXCHANGES + 1):
            station.process.send_signal(signal.SIGHUP)
            station.wait(lambda count=count: station.log.read_text().count(loaded) >= count)
        report = station.health()
        assert report["station"]["counters"]["restarts"] == report["thread_failures"] == 0
        assert station.end(number) == 0, station.log.read_text()
    finally:
        station.process.kill()
