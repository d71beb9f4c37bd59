"""A station's records under attack: killed workers and stations, full and hanging disks, swaps."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from waiting import wait_until

pytest.importorskip("pymodbus", reason="pymodbus is not installed")
from pymodbus.client import ModbusTcpClient

from edge.inspection.settings import change_settings

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
EDGE = (sys.executable, "-c", "from edge.cli.main import main; main()")
STATION = """
[station]
name = "line3"
source = "{source}"
bundle = "{bundle}"
engine = "onnxruntime"
deadline_ms = 3000
clear_faults = "auto"
bridges = ["modbus"]
{records}
[modbus]
port = 0
"""
HANGS = """
import pathlib, time
write_bytes = pathlib.Path.write_bytes
def hanging(self, data):
    if "hang" in str(self):
        time.sleep(1e6)
    return write_bytes(self, data)
pathlib.Path.write_bytes = hanging
"""


class Line:
    """A station and a PLC that notes what it was answered."""

    def __init__(self, folder: Path, source: Path, bundle: Path, records: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "edge.toml").write_text(
            STATION.format(source=source, bundle=bundle, records=records)
        )
        (folder / "sitecustomize.py").write_text(HANGS)
        self.answered: list[tuple[int, int]] = []  # boot id and sequence number
        self.words: list[list[int]] = []
        self.start()

    def start(self) -> None:
        self.log = self.folder / f"log{time.time_ns()}"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [*EDGE, "serve"],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": f"{self.folder}:{ROOT}"},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        wait_until(lambda: "online, recipe 1" in self.log.read_text(), within_s=90)
        found = re.search(r"modbus tcp://127\.0\.0\.1:(\d+)", self.log.read_text())
        assert found is not None
        self.plc = ModbusTcpClient("127.0.0.1", port=int(found[1]), timeout=30)
        self.plc.connect()
        self.plc.write_register(0, 1)

    @property
    def worker(self) -> int:
        files = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return next((int(one) for file in files for one in file.read_text().split()), 0)

    def read(self) -> list[int]:
        return list(self.plc.read_input_registers(0, count=32).registers)

    def cycle(self, number: int) -> list[int] | None:
        """One part; None where a fault came between."""
        wait_until(lambda: self.read()[0] & 1, within_s=60)
        self.plc.write_registers(0, [3, 0, number, 0, number])
        while not (words := self.read())[0] & 1 << 11:
            if words[0] >> 15:
                self.plc.write_register(0, 1)
                return None
        self.answered.append((words[3], words[4]))
        self.words.append(words)
        self.plc.write_register(0, 9)
        while self.read()[0] & 1 << 11:
            pass
        self.plc.write_register(0, 1)
        return words

    def stop(self) -> None:
        self.plc.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()

    def rows(self, what: str, table: str = "results") -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.folder / "kept/results.db")) as database:
            return database.execute(f"SELECT {what} FROM {table} ORDER BY id").fetchall()

    def recorded(self) -> list[tuple[int, int]]:
        decided = [json.loads(line)["decided"] for (line,) in self.rows("result")]
        return [(one["boot_id"], one["seq"]) for one in decided]


@pytest.fixture
def work(bundle, tmp_path) -> Path:
    """A copy of the bundle that may be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "work.edge"))


@pytest.fixture
def line(bundle, work, tmp_path):
    lines: list[Line] = []

    def start(name: str, records: str = 'keep = "kept"') -> Line:
        source = bundle.parent / "images" / "test" / "*" / "*"
        lines.append(Line(tmp_path / name, source, work, records))
        return lines[-1]

    yield start
    for one in lines:
        one.process.kill()
        one.process.wait()


def test_a_killed_worker_takes_no_answered_part_with_it(line) -> None:
    random = Random(1)
    station = line("worker")
    for number in range(1, 121):
        station.cycle(number)
        if number % 30 == 0:
            time.sleep(random.random() * 0.02)
            os.kill(station.worker, signal.SIGKILL)
    station.stop()
    recorded = station.recorded()
    assert set(station.answered) <= set(recorded)
    assert len(recorded) == len(set(recorded)) >= 120
    assert re.search(r"restarts [34]", station.log.read_text())


def test_a_killed_station_loses_at_most_what_it_decided_last(line) -> None:
    random = Random(2)
    station = line("station")
    lost = 0
    for _ in range(5):
        before = len(station.answered)
        for number in range(1, random.randrange(5, 25)):
            station.cycle(number)
        station.process.kill()
        station.process.wait()
        station.plc.close()
        missing = set(station.answered[before:]) - set(station.recorded())
        assert missing <= set(station.answered[-1:])
        lost += len(missing)
        station.start()
    station.stop()
    print("parts lost in 5 kills of the station:", lost)


def facts(words: list[int]) -> tuple[int, ...]:
    """What does not depend on time: decision, evaluation, error, recipe, score, defects, worst."""
    return tuple(words[8:16] + words[18:23] + words[28:30])


def test_records_of_all_kinds_change_nothing_that_the_plc_sees(line, bundle, tmp_path) -> None:
    candidate = Path(shutil.copytree(bundle, tmp_path / "candidate.edge"))
    change_settings(candidate, threshold=1e3)
    seen = {}
    for name, records in {
        "plain": "",
        "kept": 'keep = "kept"\nkeep_ok = 1.0\nresults = "r.jsonl"\nrecord = "video"',
        "shadow": f'keep = "kept"\nshadow = "{candidate}"',
        "full": 'keep = "kept"\nkeep_free_mb = 100000000\nresults = "/dev/full"',
        "hanging": 'keep = "hang"\nkeep_ok = 1.0',
    }.items():
        station = line(name, records)
        for number in range(1, 61):
            assert station.cycle(number)
        seen[name] = [facts(words) for words in station.words]
        station.stop()
        assert "timeouts" not in station.log.read_text()
        if name == "shadow":
            judged = station.rows("verdict, shadow_verdict", "shadow")
            assert len(judged) > 40  # those at the start found it not yet open
            assert set(judged) == {("OK", "OK"), ("NG", "OK")}
        if name == "kept":
            assert list((station.folder / "video").rglob("*.mp4"))
            assert len(list((station.folder / "kept").rglob("*.png"))) > 0
    for name, words in seen.items():
        assert words == seen["plain"], name


def test_a_candidate_is_promoted_between_two_parts(line, work, tmp_path) -> None:
    candidate = Path(shutil.copytree(work, tmp_path / "candidate.edge"))
    change_settings(candidate, threshold=1e3)
    station = line("promote")
    number = 0

    def threshold_permille() -> int:
        nonlocal number
        number += 1
        words = station.cycle(number)
        assert words is not None
        return words[15]

    before = threshold_permille()
    promote = subprocess.Popen(
        [*EDGE, "promote", str(candidate), str(work), "--engine", "onnxruntime"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    limit = time.monotonic() + 60
    while threshold_permille() == before:
        assert time.monotonic() < limit
    assert promote.wait(60) == 0
    assert threshold_permille() == 65535
    station.stop()
    assert "missed" not in station.log.read_text()
    thresholds = [row[0] for row in station.rows("threshold")]
    assert thresholds == sorted(thresholds) and len(set(thresholds)) == 2


def test_a_folder_that_is_removed_meanwhile_costs_pictures_alone(line) -> None:
    station = line("removed")
    for number in range(1, 11):
        station.cycle(number)
    shutil.rmtree(station.folder / "kept")
    for number in range(11, 21):
        assert station.cycle(number)
    (station.folder / "kept" / "line3").mkdir(parents=True)
    time.sleep(1)
    for number in range(21, 31):
        assert station.cycle(number)
    station.stop()
    assert len(station.recorded()) >= 19  # those since, and what waited in memory
