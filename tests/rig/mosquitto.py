"""mosquitto, the broker that nobody here wrote, and its clients."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Debian has the broker where only root looks.
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
ABSENT = ""
if not (MOSQUITTO and shutil.which("mosquitto_sub")):
    ABSENT = "no mosquitto; apt-get install mosquitto mosquitto-clients"
ROOT = "protoedge/site/line/flange"


def until(condition: Callable[[], bool], what: str, *, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@dataclass
class Broker:
    """A mosquitto that can be killed and started again; it keeps what its clients asked for."""

    folder: Path
    lines: tuple[str, ...] = ("allow_anonymous true",)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # It runs as another user, who must be able to read what is in there.
        self.folder.chmod(0o777)
        for folder in self.folder.parents[:3]:
            if folder.name.startswith("pytest-"):
                folder.chmod(0o755)
        config = (
            f"listener {self.port} 127.0.0.1",
            *self.lines,
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 100000",
            f"user {os.environ.get('USER', 'root')}",
        )
        (self.folder / "mosquitto.conf").write_text("\n".join(config) + "\n")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(MOSQUITTO), "-c", str(self.folder / "mosquitto.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._listens, "the broker does not listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class Heard:
    """What mosquitto_sub prints: retained flag, topic and payload of each message."""

    process: subprocess.Popen[bytes]
    path: Path
    topics: list[str] = field(default_factory=list)

    def messages(self, topic: str) -> list[tuple[bool, str]]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        split = [line.split(" ", 2) for line in lines]
        return [(retained == "1", body) for retained, name, body in split if name == topic]

    def json(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.messages(topic)]

    def parts(self) -> list[int]:
        return [result["part_id"] for result in self.json(f"{ROOT}/result")]


@contextmanager
def listening(broker: Broker, folder: Path, *more: str) -> Iterator[Heard]:
    """A subscriber to everything, whose session the broker keeps when either is away."""
    path = folder / "heard.txt"
    with path.open("ab") as out:
        process = subprocess.Popen(
            [
                *("mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-V", "311"),
                *("-c", "-i", "listener", "-q", "1", "-F", "%r %t %p"),
                *(*more, "-t", "#"),
            ],
            stdout=out,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield Heard(process, path)
    finally:
        process.terminate()
        process.wait()


def publish(broker: Broker, topic: str, *words: str) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, *words]
    subprocess.run(command, check=True, timeout=20)


def retained(broker: Broker, topic: str) -> str:
    """What somebody finds who comes only now."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-C", "1", "-W", "5"]
    done = subprocess.run([*command, "-t", topic], capture_output=True, text=True, check=False)
    return done.stdout.strip()
