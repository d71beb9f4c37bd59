"""What `Inspect` costs beyond the inspection itself, on a machine that does nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.plc.opcua.bridge import OpcuaBridge
from edge.plc.opcua.section import OpcuaSection
from edge.plc.station.messages import Answer, Job, Recipe, StationOptions
from edge.plc.station.snapshot import ResultEvaluation
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

CALLS = int(os.environ.get("EDGE_OPCUA_CALLS", "2000"))
INSPECTS_S = 0.01
SERVES = "import sys; sys.path.insert(0, {tests!r}); from test_latency import serve; serve()"


class Timed:
    """Takes ten milliseconds and says in the score how many it took."""

    def load(self, recipe_id: int, progress: object) -> Recipe:
        return Recipe(recipe_id, threshold=1e9, simulated=True)

    def inspect(self, job: Job) -> Answer:
        begun = time.perf_counter()
        time.sleep(INSPECTS_S)
        took_ms = (time.perf_counter() - begun) * 1e3
        return Answer(job.seq, ResultEvaluation.OK, score=took_ms, acquired_at_ns=time.time_ns())

    def close(self) -> None:
        pass


def serve() -> None:
    """In a process of its own: until standard input ends."""
    port, pki = int(os.environ["PORT"]), Path(os.environ["PKI"])
    section = OpcuaSection(port=port, pki=pki, anonymous=True, any_certificate=True, plain=True)
    with Station(ThreadWorker(Timed()), options=StationOptions(name="flange")) as station:
        station.wait_ready(10)
        with OpcuaBridge(station, section):
            print("ready", flush=True)
            sys.stdin.read()


async def beyond_ms(url: str, security: str | None, *, watched: bool) -> list[float]:
    """Milliseconds of each call beyond the inspection, sorted."""
    client = Client(url)
    client.session_timeout = 60_000
    if security is not None:
        client.application_uri = "urn:tests:plc"
        await client.set_security_string(security)
    found = []
    async with client:
        index = await client.get_namespace_index("urn:protoedge:station")
        top, method = client.get_node(f"ns={index};s=flange"), ua.NodeId("flange.Inspect", index)
        if watched:  # as an HMI does beside the PLC
            subscription = await client.create_subscription(100, Silent())
            folders = [await folder.get_children() for folder in await top.get_children()]
            nodes = [node for folder in folders for node in folder]
            nodes = [n for n in nodes if await n.read_node_class() == ua.NodeClass.Variable]
            await subscription.subscribe_data_change(nodes)
        arguments = [ua.VariantType.UInt16, ua.VariantType.UInt32, ua.VariantType.UInt32]
        for number in range(CALLS):
            values = (number % 65536, number, 0)
            given = [ua.Variant(v, k) for v, k in zip(values, arguments, strict=True)]
            begun = time.perf_counter()
            answer = await top.call_method(method, *given)
            took_ms = (time.perf_counter() - begun) * 1e3
            assert answer[1:5] == [number % 65536, number, 1, 0]
            found.append(took_ms - answer[5])
    return sorted(found)


class Silent:
    def datachange_notification(self, node: object, value: object, data: object) -> None:
        pass


@contextmanager
def served(tmp_path: Path) -> Iterator[str]:
    """A server in a process of its own; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVES.format(tests=str(Path(__file__).parent))],
        env={**os.environ, "PORT": str(port), "PKI": str(tmp_path / "pki")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        assert server.stdout.readline() == b"ready\n"
        yield f"opc.tcp://127.0.0.1:{port}"
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_what_inspect_costs_beyond_the_inspection(tmp_path: Path) -> None:
    own = tmp_path / "client.der", tmp_path / "client.pem"
    asyncio.run(
        setup_self_signed_certificate(
            *(own[1], own[0], "urn:tests:plc", socket.gethostname()),
            [ExtendedKeyUsageOID.CLIENT_AUTH],
            {"organizationName": "tests"},
        )
    )
    trusted = tmp_path / "pki" / "own" / "certificate.der"
    security = f"Basic256Sha256,SignAndEncrypt,{own[0]},{own[1]},{trusted}"
    report = {}
    with served(tmp_path) as url:
        for name, told, watched in (
            ("plain", None, False),
            ("encrypted", security, False),
            ("encrypted, watched", security, True),
        ):
            found = asyncio.run(beyond_ms(url, told, watched=watched))
            report[name] = {f"p{p}": round(found[len(found) * p // 100], 2) for p in (50, 99)} | {
                "max": round(found[-1], 2)
            }
    print(json.dumps(report))
    assert report["encrypted"]["p99"] <= 5.0, report
