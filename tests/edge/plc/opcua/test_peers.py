"""The OPC UA server as clients meet it that share no code with it: node-opcua and open62541."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from scoring import Scoring

from edge.plc.opcua.bridge import OpcuaBridge
from edge.plc.opcua.section import OpcuaSection
from edge.plc.station.messages import StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

SCRIPT = Path(__file__).with_suffix(".js")
NODE = shutil.which("node") or ""
MODULES = Path(os.environ.get("EDGE_NODE_OPCUA", "")) / "node_modules"
USER, PASSWORD = "line3", "secret"
CYCLES = 50


@dataclass(frozen=True)
class Served:
    url: str
    pki: Path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server as it is unless told otherwise, with a user; it trusts no client yet."""
    (tmp_path / "password").write_text(PASSWORD)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    section = OpcuaSection(
        port=port, pki=tmp_path / "pki", user=USER, password_file=tmp_path / "password"
    )
    with Station(ThreadWorker(Scoring()), options=StationOptions(name="flange")) as station:
        station.wait_ready(10)
        with OpcuaBridge(station, section) as bridge:
            yield Served(bridge.url, tmp_path / "pki")


OPEN62541 = """
import json, sys, time
import o6

url, certificate, key, user, password, cycles = sys.argv[1:]
client = o6.Client(
    url, certificate=certificate, privateKey=key, securityMode=3,
    securityPolicy="http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256",
    applicationUri="urn:tests:plc", username=user, password=password,
)
report = {"inspected": 0, "mismatched": 0, "cycles": 0, "stale": 0}
with client:
    index = list(client.read("i=2255")).index("urn:protoedge:station")
    node = lambda name: f"ns={index};s=flange.{name}"

    def status_of(name):
        try:
            return "Good", client.read(node(name))
        except o6.StatusCodeError as error:
            return str(error), 0

    names = ("Result.Score", "Result.Seq", "Result.DecidedAt")
    report["idle"] = [status_of(name) for name in names]
    report["idle"].append(["Good", bool(client.read(node("Status.Ready")))])
    for part in range(400, 400 + int(cycles)):
        ids = [o6.UInt16(part), o6.UInt32(part), o6.UInt32(0)]
        status, seq, trigger, echoed, evaluation, error, score = client.call(
            f"ns={index};s=flange", node("Inspect"), ids
        )
        wanted = (part, part, 1 + (part % 1000 >= 500), 0)
        good = (trigger, echoed, evaluation, error) == wanted
        report["mismatched"] += not good
        report["inspected"] += 1
    wrong = client.call(f"ns={index};s=flange", node("Inspect"), [o6.UInt16(1)])[0]
    report["wrong"] = "BadArgumentsMissing" if wrong == 0x80760000 else str(wrong)

    def until(name, wanted):
        end = time.monotonic() + 10
        while client.read(node(name)) != wanted:
            assert time.monotonic() < end, name

    def write(**levels):
        client.write({node(f"Control.{name}"): value for name, value in levels.items()})

    write(Enable=o6.Boolean(True), Trigger=o6.Boolean(False), Acknowledge=o6.Boolean(False))
    for part in range(400, 400 + int(cycles)):
        until("Status.Ready", True)
        write(TriggerId=o6.UInt16(part), PartId=o6.UInt32(part), Trigger=o6.Boolean(True))
        until("Status.Valid", True)
        names = ("TriggerId", "PartId", "Pass", "Reject")
        shown = [int(value) for value in client.read([node(f"Result.{name}") for name in names])]
        report["mismatched"] += shown != [part, part, part % 1000 < 500, part % 1000 >= 500]
        write(Trigger=o6.Boolean(False), Acknowledge=o6.Boolean(True))
        left = bool(client.read(node("Status.Valid")))
        report["stale"] += left or status_of("Result.Pass")[0] == "Good"
        write(Acknowledge=o6.Boolean(False))
        report["cycles"] += 1
print(json.dumps(report))
"""


def let_in(served: Served, attempt: Callable[[], subprocess.CompletedProcess[str]]) -> str:
    """Connect, be refused, be trusted, connect: as somebody who commissions a line does."""
    refused = attempt()
    assert refused.returncode != 0
    (kept,) = (served.pki / "rejected").iterdir()
    kept.rename(served.pki / "trusted" / kept.name)
    done = attempt()
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def check(report: dict[str, Any]) -> None:
    assert report["idle"][0][1] == 0 and report["idle"][1][1] == 0
    assert report["idle"][3] == ["Good", True]
    assert (report["inspected"], report["cycles"]) == (CYCLES, CYCLES)
    assert (report["mismatched"], report["stale"]) == (0, 0)
    assert report["wrong"] == "BadArgumentsMissing"


@pytest.mark.skipif(
    not NODE or not (MODULES / "node-opcua-client").is_dir(),
    reason="no node-opcua: npm install --prefix DIR node-opcua-client, EDGE_NODE_OPCUA=DIR",
)
def test_node_opcua(served: Served, tmp_path: Path) -> None:
    def attempt() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [NODE, SCRIPT, served.url, tmp_path / "client", USER, PASSWORD, str(CYCLES)],
            env={**os.environ, "NODE_PATH": str(MODULES)},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    report = json.loads(let_in(served, attempt).splitlines()[-1])
    check(report)
    assert [status for status, _ in report["idle"][:3]] == ["BadNoData"] * 3
    assert report["heard_last"] == ["BadNoData", 0]


@pytest.mark.skipif(importlib.util.find_spec("o6") is None, reason="no open62541: pip install o6")
def test_open62541(served: Served, tmp_path: Path) -> None:
    """By o6, which wraps it: not free software, so it is used where somebody installed it."""
    own = tmp_path / "client.der", tmp_path / "client.pem"
    asyncio.run(
        setup_self_signed_certificate(
            *(own[1], own[0], "urn:tests:plc", socket.gethostname()),
            [ExtendedKeyUsageOID.CLIENT_AUTH],
            {"organizationName": "tests"},
        )
    )

    def attempt() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", OPEN62541, served.url, *own, USER, PASSWORD, str(CYCLES)],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    report = json.loads(let_in(served, attempt).splitlines()[-1])
    check(report)
    assert [status for status, _ in report["idle"][:3]] == ["BAD_NO_DATA"] * 3
