"""What `edge serve` writes to stderr with an OPC UA bridge: what an operator can use, no more."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed")

from asyncua import Client, ua
from opcua_peer import Peer, connected, free_port

from edge.plc.opcua.nodes import NAMESPACE

PATIENCE_S = 180.0
HELLO = b"HELF" + struct.pack("<7I", 32, 0, 65536, 65536, 0, 0, 0)
LINES = (
    r"opcua: made pki/opcua/own/certificate\.der; the clients must trust it",
    r"recipe 1: .*flange\.edge, threshold 0\.\d+, min_area 0",
    r"opcua opc\.tcp://127\.0\.0\.1:\d+: serves flange",
    r"flange: (online, recipe 1|offline, \w+)",
    r"opcua: wrong name or password",
    r"(triggers \d+, .*)",
)


@pytest.fixture
def serving(built: Path, drawn: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """The URL of a server that is open to everybody, and its process."""
    port = free_port()
    (tmp_path / "secret").write_text("as good as none\n")
    (tmp_path / "edge.toml").write_text(f"""
[station]
name = "flange"
source = "{drawn / "test" / "good"}"
engine = "onnxruntime"
deadline_ms = 30000
bridges = ["opcua"]
recipes = {{ 1 = "{built}" }}
silent_after_s = 10
[opcua]
port = {port}
plain = true
anonymous = true
any_certificate = true
user = "plc"
password_file = "secret"
""")
    command = [sys.executable, "-c", "from edge.cli.main import main; main()", "serve"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + PATIENCE_S
        while "online" not in (said := (tmp_path / "log").read_text()) or "serves" not in said:
            assert time.monotonic() < limit and process.poll() is None, said
            time.sleep(0.05)
        yield f"opc.tcp://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def send_rubbish(url: str) -> None:
    random, address = Random(3), ("127.0.0.1", int(url.rpartition(":")[2]))
    for number in range(60):
        body = random.randbytes(random.randrange(64))
        size = random.choice([8 + len(body), len(body), 0, 2**31])
        kind = random.choice([b"OPNF", b"MSGF", b"CLOF", b"HELF", b"GET "])
        with socket.create_connection(address, timeout=30) as stranger:
            stranger.sendall((HELLO if number % 2 else b"") + kind + struct.pack("<I", size) + body)


async def err(peer: Peer) -> None:
    """Calls that are wrong, and one that is right."""
    with pytest.raises(ua.UaError):
        await peer.call("Inspect", ua.Variant(1, ua.VariantType.Boolean))
    with pytest.raises(ua.UaError):
        await peer.write(Trigger=ua.Variant("up", ua.VariantType.String))
    with pytest.raises(ua.UaError):
        await peer.node("Status.Nothing").read_value()
    assert (await peer.inspect(7, 7))[1:3] == [7, 7]


async def watching(url: str) -> Client:
    """A client that is told of each heartbeat."""
    client = Client(url)
    await client.connect()
    index = await client.get_namespace_index(NAMESPACE)
    subscription = await client.create_subscription(20, Silent())
    node = client.get_node(f"ns={index};s=flange.Status.Heartbeat")
    await subscription.subscribe_data_change(node)
    await asyncio.sleep(0.3)
    return client


async def meet(url: str, process: subprocess.Popen) -> None:
    """A client that errs, one that vanishes, one with a wrong password, one that stays."""
    async with connected(url) as peer:
        await err(peer)
    (await watching(url)).uaclient.protocol.transport.abort()
    nobody = Client(url.replace("//", "//plc:wrong@"))
    with pytest.raises(ua.UaError):
        await nobody.connect()
    _stays = await watching(url)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0


class Silent:
    def datachange_notification(self, _node: object, _value: object, _data: object) -> None:
        """Nothing to do."""

    def status_change_notification(self, _status: object) -> None:
        """Nothing to do."""


@pytest.mark.filterwarnings("ignore")  # asyncua's client does not expect its server to go
def test_strangers_and_clients_that_err_leave_the_log_to_the_operator(
    serving: tuple[str, subprocess.Popen], tmp_path: Path
) -> None:
    url, process = serving
    send_rubbish(url)
    asyncio.run(meet(url, process))
    said = (tmp_path / "log").read_text().splitlines()
    assert said and not [line for line in said if not any(re.fullmatch(one, line) for one in LINES)]
    assert os.fspath(tmp_path) not in "\n".join(said)
