"""`edge stream` as a service lives: ready, asked, reloaded, short of disk, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge.inspection.settings import change_settings
from engines.bundle import Bundle
from engines.changes import edit_manifest

ROOT = Path(__file__).resolve().parents[3]
COMMAND = (sys.executable, "-c", "from edge.cli.main import main; main()")


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> object:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class Service:
    """`edge stream` in a folder, with the systemd that started it."""

    def __init__(self, folder: Path, *words: object, config: str = "") -> None:
        self.folder = folder
        (folder / "edge.toml").write_text(config)
        self.told: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(0.05)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        notify = str(folder / f"notify{self.port}")
        self.socket.bind(notify)
        self.log = folder / "log"
        environment = os.environ | {
            "NOTIFY_SOCKET": notify,
            "WATCHDOG_USEC": "2000000",
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("WATCHDOG_PID", None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "stream", *map(str, words), "--monitor", f"127.0.0.1:{self.port}"],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # as a service: no terminal
            )

        self.ended = False
        self.listener = threading.Thread(target=self.listen)
        self.listener.start()

    def listen(self) -> None:
        """As systemd does, at once: the queue is short."""
        while not self.ended:
            with contextlib.suppress(TimeoutError):
                self.told.append(self.socket.recv(8192).decode())

    def health(self) -> tuple[int, dict]:
        """Status and report; (0, {}) while it does not listen."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(self.url("/healthz"), timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def camera(self) -> dict:
        cameras = self.health()[1].get("cameras", {})
        return next(iter(cameras.values()), {})

    def wait_ready(self) -> None:
        wait_for(lambda: self.health()[0] == 200)

    def stop(self) -> dict:
        """SIGTERM, and the summary that it prints."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.log.read_text()
        return json.loads(out)


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def start(*words: object, config: str = "") -> Service:
        services.append(Service(tmp_path, *words, config=config))
        return services[-1]

    yield start
    for service in services:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()
        service.ended = True
        service.listener.join()
        service.socket.close()


@pytest.fixture
def camera(good, drawn, tmp_path) -> str:
    """A camera that shows twelve good parts and a bad one, for ever."""
    bad = next(path for path in sorted((drawn / "test").iterdir()) if path.name != "good")
    shutil.copy(next(iter(sorted(bad.iterdir()))), good / "zz.png")
    return f"replay:{good}?fps=10"


CONFIG = """
[stream]
results = "results.jsonl"
results_mb = 1
database = "results.db"
keep = "kept"
keep_free_mb = 1
health_off = ["occluded", "blurred", "black", "saturated", "frozen"]
[life]
self_test_s = 0.5
[log]
format = "json"
"""


def words(camera: str, bundle: Path) -> tuple[object, ...]:
    return (camera, "--bundle", bundle, "--engine", "onnxruntime", "--no-show", "--json")


def test_a_service_from_start_to_stop(serve, camera, bundle, tmp_path) -> None:
    # OpenVINO, whose release once took the stack that the next signal was handled on.
    engine = "openvino" if find_spec("openvino") else "onnxruntime"
    service = serve(*words(camera, bundle), "--engine", engine, config=CONFIG)
    service.wait_ready()
    wait_for(lambda: "READY=1" in service.told)
    wait_for(lambda: "WATCHDOG=1" in service.told)
    with urllib.request.urlopen(service.url("/metrics"), timeout=30) as answer:
        assert b'edge_results_total{camera="",verdict="OK"}' in answer.read()
    age = float(wait_for(lambda: service.camera()["self_test"]["age_s"]))
    wait_for(lambda: service.camera()["self_test"]["age_s"] < age)

    # A bundle that is built anew, or changed, is taken; one that is damaged is not.
    change_settings(bundle, threshold=1e6)
    wait_for(lambda: service.camera()["reloads"]["done"] == 1)
    graph = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(graph[:-1])
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.camera()["reloads"]["refused"] == 1)
    count = service.camera()["ok"]
    wait_for(lambda: service.camera()["ok"] > count + 5)
    service.wait_ready()
    (bundle / "model.onnx").write_bytes(graph)
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.camera()["reloads"]["done"] == 2)

    summary = service.stop()
    wait_for(lambda: "STOPPING=1" in service.told)
    log = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert {"ready"} <= {line["message"] for line in log}
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert len(lines) == summary["frames"]
    with contextlib.closing(sqlite3.connect(tmp_path / "results.db")) as database:
        assert database.execute("SELECT count(*) FROM results").fetchone() == (len(lines),)
    # Every captured frame was judged or counted as dropped, through three exchanges.
    frames = [line["frame"] for line in lines]
    assert frames == sorted(set(frames))
    assert frames[-1] + 1 - frames[0] - len(frames) <= summary["dropped"]
    kept = [path.name for path in (tmp_path / "kept").rglob("*_NG_*.png")]
    assert len(kept) == summary["ng"]

    # Of the day nothing is lost with the process, however it ends.
    service = serve(*words(camera, bundle), config=CONFIG)
    service.wait_ready()
    found = service.camera()
    counted = {name: found["today"][name] - found[name] for name in ("ok", "ng", "error")}
    assert counted == {name: summary[name] for name in counted}
    service.process.kill()
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) >= len(lines)


@pytest.fixture
def small_disk(disk_of) -> Path:
    return disk_of(mib=1)


def test_a_full_disk_is_an_alarm_while_verdicts_go_on(serve, camera, bundle, small_disk) -> None:
    ballast = small_disk / "ballast"
    config = CONFIG.replace('"results.', f'"{small_disk}/results.').replace(
        '"kept"', f'"{small_disk}/kept"'
    )
    service = serve(*words(camera, bundle), config=config)
    service.wait_ready()
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    # The shared ones are the result lines and the database; a line may still fit into a page.
    wait_for(lambda: len(service.health()[1]["troubles"]) == 2)
    count = service.camera()["frames"]
    wait_for(lambda: service.camera()["frames"] > count + 10)
    service.wait_ready()
    assert any("results.jsonl" in line for line in service.health()[1]["troubles"])
    ballast.unlink()
    wait_for(lambda: service.health()[1]["troubles"] == [])
    lost = service.health()[1]["not_written"]
    summary = service.stop()
    assert lost > 0
    assert summary["not_written"] >= lost
    assert summary["ok"] > 10


def test_cameras_are_ready_and_exchanged_each_for_itself(serve, camera, bundle, tmp_path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other.edge"))
    config = (
        CONFIG
        + f"""
[cameras]
left = {{ source = "{camera}", bundle = "{bundle}" }}
right = {{ source = "{camera}", bundle = "{other}" }}
"""
    )
    service = serve(
        "left", "right", "--engine", "onnxruntime", "--no-show", "--json", config=config
    )
    service.wait_ready()
    assert list(service.health()[1]["cameras"]) == ["left", "right"]
    edit_manifest(Bundle.open(other), threshold=1e6)
    wait_for(lambda: service.health()[1]["cameras"]["right"]["reloads"]["done"] == 1)
    assert service.health()[1]["cameras"]["left"]["reloads"]["done"] == 0
    graph = other / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.health()[1]["cameras"]["left"]["reloads"]["done"] == 1)
    wait_for(lambda: service.health()[1]["cameras"]["right"]["reloads"]["refused"] == 1)
    service.wait_ready()
    summary = service.stop()
    assert set(summary["cameras"]) == {"left", "right"}
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    for name in ("left", "right"):
        own = [line for line in lines if line["camera"] == name]
        assert len(own) == summary["cameras"][name]["frames"]
        assert "OK" in {line["verdict"] for line in own}
    assert (tmp_path / "kept" / "left").is_dir()
