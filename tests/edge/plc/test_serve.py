"""`edge serve` as a user starts it: a bundle, files as camera, a Modbus PLC, signals, no orphan."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asking import asked
from processes import gone
from waiting import wait_until

pytest.importorskip("pymodbus", reason="pymodbus is not installed")

PATIENCE_S = 180.0
EDGE = (sys.executable, "-c", "from edge.cli.main import main; main()")


class Served:
    """A running `edge serve`."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.log = folder / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*EDGE, "serve", *words],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # as a service: no terminal
            )

    def said(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log."""
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} is not in: {self.log.read_text()}")

    @property
    def port(self) -> int:
        return int(self.said(r"modbus tcp://127\.0\.0\.1:(\d+)")[1])

    @property
    def monitor(self) -> int:
        return int(self.said(r"http://127\.0\.0\.1:(\d+): the page, /healthz and /metrics")[1])

    @property
    def worker(self) -> int:
        """The process that inspects: the only child."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return next(int(pid) for file in children for pid in file.read_text().split())

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(toml: str, *words: str) -> Served:
            (tmp_path / "edge.toml").write_text(toml)
            served = Served(tmp_path, *words)
            stack.callback(served.process.communicate)
            stack.callback(served.process.kill)
            return served

        yield start


@pytest.fixture
def toml(built, drawn) -> str:
    return f"""
[station]
name = "line3"
source = "{drawn / "test" / "good"}"
engine = "onnxruntime"
deadline_ms = 30000
bridges = ["modbus"]
recipes = {{ 1 = "{built}", 2 = "{built}" }}
results = "results.jsonl"
silent_after_s = 5
[modbus]
port = 0
[life]
monitor = "127.0.0.1:0"
"""


def edge(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EDGE, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_parts_for_a_plc_then_a_lost_worker_then_the_end(serve, toml, built, tmp_path) -> None:
    second = f'2 = {{ bundle = "{built}", threshold = 1e-6, min_area = 1 }}'
    toml = toml.replace(f'2 = "{built}"', second).replace("results =", 'keep = "kept"\nresults =')
    served = serve(toml, "--json")
    served.said("recipe 2: .*, threshold 1e-06, min_area 1")
    served.said("line3: online, recipe 1")
    options = ("--port", str(served.port), "--timeout-s", "30", "--json")
    told = edge("plc", "simulate", "--cycles", "8", "--recipe", "2", *options)
    assert told.returncode == 0, told.stderr
    seen = json.loads(told.stdout)
    assert (seen["cycles"], seen["accepted"], seen["rejected"]) == (8, 0, 8)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, 9))
    assert {line["recipe_id"] for line in lines} == {2}
    assert all(line["simulated"] and line["station"] == "line3" for line in lines)

    health = asked(served.monitor, "/healthz")
    assert (health.status, health.json()["station"]["counters"]["triggers"]) == (200, 8)
    assert b'edge_station_triggers_total{station="line3"} 8.0' in (
        asked(served.monitor, "/metrics").body
    )

    path = re.sub("^http://[^/]*", "", lines[-1]["picture"])
    assert re.fullmatch(r"/cameras/line3/rejects/\d{8}T\d{6}\.\d{3}Z_000008_NG_good\.jpg", path)
    kept = tmp_path / "kept/line3" / path[23:31] / f"{path[23:-4]}_drawn.jpg"
    wait_until(kept.exists)
    assert asked(served.monitor, path).body == kept.read_bytes()
    kept.unlink()
    gone_now = asked(served.monitor, path.replace("_000008_", "_000009_"))
    assert (gone_now.status, b"not kept, or not any more" in gone_now.body) == (404, True)

    worker = served.worker
    os.kill(worker, signal.SIGKILL)
    served.said("line3: fault 10: the worker ended: killed by SIGKILL")
    told = edge("plc", "simulate", "--cycles", "2", *options)
    assert "cleared" in told.stderr
    assert json.loads(told.stdout)["cycles"] == 2

    worker = served.worker
    code, out = served.stop()
    assert (code, gone(worker)) == (0, True)
    counters = json.loads(out)
    assert (counters["triggers"], counters["restarts"], counters["faults"]) == (10, 1, 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "kept/results.db")) as database:
        rows = database.execute("SELECT verdict, recipe, camera FROM results").fetchall()
    assert rows == [("NG", 2, "line3")] * 10


def test_the_part_that_the_end_cuts_short_is_recorded(serve, toml, tmp_path) -> None:
    from pymodbus.client import ModbusTcpClient

    served = serve(toml.replace("silent_after_s = 5", "silent_after_s = 50"))
    served.said("online, recipe 1")
    os.kill(served.worker, signal.SIGSTOP)
    with ModbusTcpClient("127.0.0.1", port=served.port, timeout=30) as plc:
        plc.write_register(0, 1)
        plc.write_registers(0, [3, 0, 7, 0, 4711])
        assert plc.read_input_registers(0, count=1).registers[0] & 1 << 8, "busy"
        code, _ = served.stop()
    line = json.loads((tmp_path / "results.jsonl").read_text())
    assert (code, line["part_id"], line["decision"]) == (0, 4711, "REJECT")
    assert (line["error"], line["reason"]) == (5, "the station was closed")


def test_a_killed_serve_leaves_no_orphan(serve, toml) -> None:
    served = serve(toml)
    served.said("online, recipe 1")
    worker = served.worker
    served.stop(signal.SIGKILL)
    assert gone(worker)


def test_free_running_needs_no_plc(serve, toml, tmp_path) -> None:
    served = serve(toml.replace('bridges = ["modbus"]', 'mode = "free"\nevery_ms = 20'), "--json")
    served.said("online, recipe 1")
    results = tmp_path / "results.jsonl"

    def wait_for(lines: int) -> None:
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit and results.read_text().count("\n") < lines:
            time.sleep(0.05)

    wait_for(5)
    served.process.send_signal(signal.SIGHUP)
    served.said("the recipe is being loaded anew")
    wait_for(results.read_text().count("\n") + 5)
    os.kill(served.worker, signal.SIGKILL)
    served.said("fault 10")
    before = results.read_text().count("\n")
    wait_for(before + 5)  # nobody is there to clear a fault
    code, out = served.stop(signal.SIGINT)
    assert code == 0
    assert json.loads(out)["triggers"] >= before + 5
    assert json.loads(out)["missed"] == 0


@pytest.mark.parametrize(
    ("toml", "words", "says"),
    [
        ("", (), "no bridge: name one"),
        ("", ("--bridge", "modbus"), "no source: name one"),
        ("[station]\nsource='x'\n", ("--bridge", "modbus"), "no bundle: none under build/"),
        ("[station]\nsource='x'\nrecipes={1='n'}\n", ("--bridge", "modbus"), "recipe 1: n: no bun"),
        (
            "[station]\nsource='x'\nrecipes={1={bundle='n', treshold=1}}\n",
            ("--bridge", "modbus"),
            "station.recipes.1.treshold: no such key; did you mean threshold?",
        ),
        (
            "[station]\nsource='x'\nrecipe=2\nrecipes={1='n'}\n",
            ("--bridge", "modbus"),
            "station.recipe 2: not one of",
        ),
        ("[modbus]\nprt=3\n", ("--bridge", "modbus"), "edge.toml: modbus.prt: "),
        ("[modbus]\nhost='0.0.0.0'\n", ("--bridge", "modbus"), "name the PLC in peers"),
        ("[station]\nname='a/b'\n", (), "station.name"),
        ("[station]\nbridges=['profinet']\n", (), "station.bridges"),
        (
            "",
            ("--deadline-ms", "-1", "--bridge", "modbus"),
            "'--deadline-ms': -1.0 should be",
        ),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_starts(run, toml, words, says) -> None:
    Path("edge.toml").write_text(toml)
    outcome = run("serve", *words)
    assert outcome.code == 2
    assert says in outcome.line()
