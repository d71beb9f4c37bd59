"""Triggers of `edge capture`, over HTTP and of a PLC: each has a picture, or is told why not."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from cameras.errors import CameraError
from cameras.frame import Frame
from cameras.source import frame_now
from edge.capturing.http_triggers import listen_for_triggers
from edge.capturing.triggers import Triggers
from edge.config import Config, ConfigError
from edge.options import LifeOptions
from edge.plc.capture import open_capture_station
from edge.plc.simulate import SimulationOptions, simulate_plc
from edge.service.http_access import MonitorError

GREY = np.full((8, 8, 3), 128, np.uint8)


def frame(at_s: float) -> Frame:
    return Frame("cam", 0, 0, int(at_s * 1e9), GREY)


def written(name: str) -> Future[str]:
    future: Future[str] = Future()
    future.set_result(name)
    return future


@contextlib.contextmanager
def taking(triggers: Triggers) -> Iterator[list[str]]:
    """A camera of 100 frames a second, each of which is as good as saved."""
    names: list[str] = []
    ended = threading.Event()

    def take() -> None:
        while not ended.wait(0.01):
            if triggers(frame_now("cam", 0, GREY)):
                names.append(f"{len(names)}.png")
                triggers.settle(written(names[-1]))

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield names
    finally:
        ended.set()
        thread.join()


def ask(port: int, *, method: str = "POST", path: str = "/", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_one_frame_serves_all_triggers_before_it_and_each_file_its_own() -> None:
    live, file = Triggers(settle_ms=500), Triggers(live=False)
    first, second, third = (live.trigger(int(at * 1e9)) for at in (1.0, 1.2, 2.0))
    assert not live(frame(1.4))
    assert live(frame(1.8))
    live.settle(written("a.png"))
    assert (first.picture.result(0), second.picture.result(0)) == ("a.png", "a.png")
    assert not third.picture.done()
    assert (live.came, live.doubled, live.missed) == (3, 1, 0)
    for _ in range(2):
        file.trigger()
    assert [file(frame(0)) for _ in range(3)] == [True, True, False]
    assert file.doubled == 0


def test_a_trigger_without_a_picture_says_why() -> None:
    triggers = Triggers()
    away = triggers.trigger(1)
    assert [one.number for one in triggers.miss("cam: no frame for 1.0 s")] == [1]
    with pytest.raises(CameraError, match=r"no frame for 1\.0 s"):
        away.picture.result(0)
    file = Triggers(live=False)
    for _ in range(2):
        file.trigger()
    assert [one.number for one in file.miss("0.png: damaged")] == [1]
    assert [one.number for one in file.end()] == [2]
    lost = triggers.trigger(2)
    assert triggers(frame(1))
    failed: Future[str] = Future()
    triggers.settle(failed)
    failed.set_exception(OSError("No space left on device"))
    with pytest.raises(CameraError, match="No space left"):
        lost.picture.result(0)
    triggers.trigger(3)
    triggers.end()
    with pytest.raises(CameraError, match="has ended"):
        triggers.trigger().picture.result(0)
    assert (triggers.came, triggers.missed) == (4, 4)


def test_a_post_takes_a_picture_and_is_told_its_name() -> None:
    triggers, said = Triggers(), []
    with listen_for_triggers("127.0.0.1:0", triggers.trigger, life=LifeOptions(), say=said.append):
        port = int(said[0].split(":")[2].split("/")[0])
        with taking(triggers):
            status, text = ask(port)
            assert (status, json.loads(text)) == (200, {"trigger": 1, "picture": "0.png"})
        refused = {
            405: ask(port, method="GET"),
            404: ask(port, path="/other"),
            421: ask(port, Host="line3.example"),
            403: ask(port, Origin="http://line3.example"),
        }
        assert {code: status for code, (status, _) in refused.items()} == {
            code: code for code in refused
        }
        assert triggers.came == 1
        triggers.end()
        status, text = ask(port)
        assert status == 503
        assert "has ended" in json.loads(text)["error"]


def test_strangers_do_not_trigger() -> None:
    with (
        pytest.raises(MonitorError, match=r"listen 0\.0\.0\.0:0: others can reach this address"),
        listen_for_triggers("0.0.0.0:0", Triggers().trigger, life=LifeOptions(), say=print),
    ):
        pass


def test_a_plc_takes_pictures_by_its_handshake_and_no_part_passes() -> None:
    triggers, said = Triggers(), []
    config = Config(modbus={"port": 0})
    with (
        taking(triggers) as names,
        open_capture_station(config, ("modbus",), triggers.trigger, say=said.append),
    ):
        port = int(said[0].split(":")[2])
        seen = simulate_plc(SimulationOptions(port=port, cycles=5, scan_ms=2.0), say=print)
    assert seen.good
    assert (seen.cycles, seen.accepted, len(names)) == (5, 0, 5)
    assert seen.errors == {"6 NOT_INSPECTED": 5}


def test_a_plc_is_told_that_the_camera_is_away() -> None:
    triggers, said = Triggers(), []
    ended = threading.Event()

    def miss() -> None:
        while not ended.is_set():
            triggers.miss("cam: no frame for 1.0 s")
            time.sleep(0.01)

    thread = threading.Thread(target=miss)
    thread.start()
    with open_capture_station(
        Config(modbus={"port": 0}), ("modbus",), triggers.trigger, say=said.append
    ):
        port = int(said[0].split(":")[2])
        seen = simulate_plc(SimulationOptions(port=port, cycles=1, scan_ms=2.0), say=print)
    ended.set()
    thread.join()
    assert (seen.accepted, seen.errors) == (0, {"2 NO_PICTURE": 1})


def test_a_bridge_whose_peer_cannot_trigger_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="nobody can trigger through it"),
        open_capture_station(Config(), ("mqtt",), Triggers().trigger, say=print),
    ):
        pass
