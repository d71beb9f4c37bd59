"""Readiness, watchdog, self-tests, exchanges and alarms of a process, told to whoever asks."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cameras.source import frame_now
from edge.inspection import upkeep
from edge.inspection.hot_swap import HotSwapInspector
from edge.options import LifeOptions
from edge.result import Result, Verdict, error_from_frame
from edge.service import supervisor as module
from edge.service.camera_status import CameraStatus, StatusOptions
from edge.service.result_counts import ResultCounts
from edge.service.signals import call_on_hangup
from edge.service.supervisor import Supervisor
from edge.service.systemd import SystemdNotifier
from edge.sinks.losses import LossCounter
from engines.errors import BundleError, EngineError

IMAGE = np.zeros((4, 4, 3), np.uint8)


@dataclasses.dataclass
class Manifest:
    name: str = "part"
    created: str = "today"


@dataclasses.dataclass
class Bundle:
    manifest: Manifest = dataclasses.field(default_factory=Manifest)


class Inspector:
    """What `HotSwapInspector` needs of an inspector: no engine; the test decides its health."""

    def __init__(self, threshold: float = 0.5) -> None:
        self.bundle = Bundle()
        self.settings = dataclasses.make_dataclass("Settings", ["threshold"])(threshold)
        self.healthy = True
        self.hold: threading.Event | None = None
        self.closed = False

    def inspect(self, frame) -> Result:
        if self.hold is not None:
            self.hold.wait(60)
        if frame.image is None:
            return error_from_frame(frame, threshold=0.5)
        return Result(
            source=frame.source,
            frame=frame.index,
            captured_at_ns=frame.captured_at_ns,
            verdict=Verdict.OK,
            score=0.1,
            threshold=self.settings.threshold,
            speed={"engine": 2.0},
        )

    def check(self) -> None:
        if not self.healthy:
            raise EngineError("golden/good.png has another score")

    def close(self) -> None:
        self.closed = True


class Line:
    """A supervised camera."""

    def __init__(self, *, live=True, sinks=(), bundle=None, notifier=None, **options) -> None:
        self.stop = threading.Event()
        self.made: list[Inspector] = []
        self.refuse: Exception | None = None
        self.exchange = HotSwapInspector(self._open, name="cam")
        self.supervisor = Supervisor(LifeOptions(**options), stop=self.stop, notifier=notifier)
        self.counts = ResultCounts(live=live)
        self.status = CameraStatus(
            "cam",
            self.exchange,
            counts=self.counts,
            options=StatusOptions(live=live, stall_after_s=0.2, hang_s=0.5),
            sinks=sinks,
        )
        self.supervisor.add_camera(self.status, bundle=bundle)
        self.count = 0

    def _open(self) -> Inspector:
        if self.refuse is not None:
            raise self.refuse
        self.made.append(Inspector(threshold=float(len(self.made))))
        return self.made[-1]

    def frame(self, image=IMAGE, *, reason: str = "") -> Result:
        frame = frame_now("cam", self.count, image, reason)
        self.count += 1
        result = self.exchange.inspect(frame)
        self.counts.add(frame, result)
        return result


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(upkeep, "LOOK_S", 0.02)
    monkeypatch.setattr(upkeep, "RETRY_S", (0.02,))
    before = threading.active_count()
    yield
    wait_for(lambda: threading.active_count() == before)


class Systemd:
    """The socket that systemd gives a service."""

    def __init__(self, folder: Path, monkeypatch, *, abstract: bool = False) -> None:
        path = f"\0edge-test-{os.getpid()}" if abstract else str(folder / "notify")
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.bind(path)
        self.end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path.replace("\0", "@"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        self.heard: list[str] = []

    def hear(self) -> list[str]:
        while True:
            try:
                self.heard.append(self.end.recv(8192).decode())
            except BlockingIOError:
                return self.heard

    def last(self, what: str) -> str:
        return next((line for line in reversed(self.hear()) if line.startswith(what)), "")


@pytest.fixture(params=[False, True], ids=["path", "abstract"])
def systemd(tmp_path, monkeypatch, request) -> Systemd:
    told = Systemd(tmp_path, monkeypatch, abstract=request.param)
    yield told
    told.end.close()


def test_ready_only_after_a_verdict_on_a_fresh_frame(systemd) -> None:
    line = Line(notifier=SystemdNotifier())
    assert line.supervisor.not_ready_reasons() == {"": "starting"}
    with line.supervisor:
        line.supervisor.begin()
        assert line.supervisor.not_ready_reasons() == {"cam": "no frame yet"}
        line.frame(None, reason="cam: no frame for 1.0 s")
        assert line.supervisor.not_ready_reasons() == {"cam": "cam: no frame for 1.0 s"}
        wait_for(lambda: "no frame for" in systemd.last("STATUS="))
        assert systemd.last("EXTEND_TIMEOUT_USEC=")
        assert not systemd.last("READY=1")
        line.frame()
        assert line.supervisor.not_ready_reasons() == {}
        wait_for(lambda: systemd.last("READY=1"))
        wait_for(lambda: systemd.last("STATUS=") == "STATUS=ready")
        assert line.supervisor.to_json()["ready"] is True
        # Errors without end are no readiness, each alone is none of its loss.
        line.frame(None, reason="cam: no frame for 1.0 s")
        assert line.supervisor.not_ready_reasons() == {}
        line.counts.judged_s -= 10  # ten seconds later
        assert "no frame" in line.supervisor.not_ready_reasons()["cam"]
        line.stop.set()
        wait_for(lambda: systemd.last("STOPPING=1"))
    assert line.supervisor.not_ready_reasons() == {"": "stopping"}
    line.exchange.close()


def test_what_waits_for_parts_is_ready_without_any() -> None:
    line = Line(live=False)
    line.supervisor.begin()
    assert line.supervisor.not_ready_reasons() == {}
    line.exchange.close()


def test_the_watchdog_hears_nothing_while_an_inspection_or_a_camera_hangs(
    tmp_path, monkeypatch
) -> None:
    systemd = Systemd(tmp_path, monkeypatch)
    line = Line(notifier=SystemdNotifier())
    hold = threading.Event()
    with line.supervisor:
        line.supervisor.begin()
        line.frame()
        wait_for(lambda: systemd.last("WATCHDOG=1"))
        line.made[0].hold = hold
        camera = threading.Thread(target=line.frame)
        camera.start()
        wait_for(lambda: line.status.hang_reason().startswith("an inspection"))
        time.sleep(0.1)
        systemd.hear()
        systemd.heard.clear()
        time.sleep(0.2)
        assert not systemd.last("WATCHDOG=1")
        assert "an inspection has taken" in line.supervisor.not_ready_reasons()["cam"]
        hold.set()
        camera.join()
        wait_for(lambda: systemd.last("WATCHDOG=1"))
        line.counts.last_s -= 100  # the loop has stood still
        assert "not even an ERROR" in line.status.hang_reason()
    line.exchange.close()
    systemd.end.close()


def test_without_systemd_nothing_is_sent(monkeypatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    notifier = SystemdNotifier()
    assert notifier.watchdog_s is None
    notifier.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "/none/such")
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert SystemdNotifier().watchdog_s is None
    SystemdNotifier().alive()


def test_golden_images_are_tested_again_and_again_and_a_failure_is_seen_at_once(caplog) -> None:
    line = Line(self_test_s=0.02)
    with line.supervisor:
        line.supervisor.begin()
        line.frame()
        before = line.exchange.tested_s
        wait_for(lambda: line.exchange.tested_s > before)
        line.refuse = BundleError("damaged")
        line.made[0].healthy = False
        wait_for(lambda: line.exchange.failed_check)
        assert line.frame().verdict is Verdict.ERROR
        assert "self-test failed" in line.supervisor.not_ready_reasons()["cam"]
        wait_for(lambda: line.exchange.failed_tests > 2)
        line.refuse = None
        wait_for(lambda: not line.exchange.failed_check)
        assert line.frame().verdict is Verdict.OK
        assert line.made[0].closed
        assert len(line.made) == 2
    line.exchange.close()
    assert line.made[1].closed


def test_a_newer_bundle_is_taken_and_a_bad_one_only_tried_once(tmp_path) -> None:
    bundle = tmp_path / "part.edge"
    bundle.mkdir()
    manifest = bundle / "manifest.json"
    manifest.write_text("1")
    line = Line(bundle=bundle, self_test_s=0)
    with line.supervisor:
        line.supervisor.begin()
        time.sleep(0.1)
        assert len(line.made) == 1
        manifest.write_text("22")
        wait_for(lambda: len(line.made) == 2)
        line.refuse = BundleError("damaged")
        manifest.write_text("333")
        wait_for(lambda: line.exchange.refused == 1)
        manifest.unlink()
        time.sleep(0.1)
        assert line.exchange.refused == 1
        assert line.frame().threshold == 1.0
        line.refuse = None
        manifest.write_text("333")
        wait_for(lambda: len(line.made) == 3)
    line.exchange.close()


def test_a_hangup_reloads_and_an_interrupt_of_the_loop_is_none(tmp_path) -> None:
    line = Line(self_test_s=0, watch_bundles=False)
    before = signal.getsignal(signal.SIGHUP)
    with line.supervisor, call_on_hangup(line.supervisor.reload):
        line.supervisor.begin()
        signal.getsignal(signal.SIGHUP)(signal.SIGHUP, None)  # real ones: test_operation.py
        wait_for(lambda: len(line.made) == 2)
        assert line.frame().verdict is Verdict.OK
    assert signal.getsignal(signal.SIGHUP) is before
    line.exchange.close()


def test_a_sink_in_trouble_is_an_alarm_while_verdicts_go_on() -> None:
    class Full:
        lossless = True
        losses = LossCounter("/disk", "results")

        def write(self, result) -> None: ...

    Full.losses.add("No space left on device", 3)
    line = Line(sinks=[Full()])
    line.supervisor.begin()
    assert line.frame().verdict is Verdict.OK
    report = line.supervisor.to_json()
    assert report["ready"] is True
    assert report["cameras"]["cam"]["troubles"] == ["/disk: No space left on device"]
    assert report["cameras"]["cam"]["not_written"] == 3
    line.exchange.close()


def test_the_report_has_what_was_counted() -> None:
    line = Line()
    for _ in range(3):
        line.frame()
    line.frame(None, reason="cam: no frame for 1.0 s")
    line.counts.dropped = 9
    found = line.status.to_json()
    assert (found["frames"], found["ok"], found["error"], found["dropped"]) == (4, 3, 1, 9)
    assert found["frame_age_s"] >= 0
    assert found["stage_ms"] == {"engine": 6.0}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    line.exchange.close()


def test_readiness_is_logged_when_it_changes_and_not_each_time(caplog) -> None:
    caplog.set_level(logging.INFO, "edge.service.supervisor")
    line = Line()
    with line.supervisor:
        line.supervisor.begin()
        for number in range(5):
            line.frame(None, reason=f"cam: no frame for {number}.0 s")
            time.sleep(0.03)
        line.frame()
        wait_for(lambda: line.supervisor._said == "ready")
        line.stop.set()
    messages = [
        record.getMessage() for record in caplog.records if record.name == "edge.service.supervisor"
    ]
    assert [message.split(":")[0] for message in messages] in (
        ["not ready", "ready"],
        ["not ready", "not ready", "ready"],
    )
    line.exchange.close()
