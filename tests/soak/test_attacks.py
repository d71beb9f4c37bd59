"""Hostile bundles, frames and requests in number: refused in one line, in bounded memory."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import shutil
import socket
import struct
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import edge
from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.section import ModbusSection
from edge.plc.station.messages import StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker
from edge.service.http_server import Monitor
from engines.bundle import Bundle, write_bundle
from engines.errors import BundleError, EngineError
from engines.manifest_file import _seal

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
MAX_GROWTH_KIB = 500 << 10


@pytest.fixture(autouse=True)
def bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB


def test_a_thousand_flips_and_swaps_are_refused(bundle, tmp_path) -> None:
    copy = tmp_path / "copy.edge"
    shutil.copytree(bundle, copy)
    choose = random.Random(0)
    names = [*Bundle.open(copy).manifest.files, "manifest.json"]
    for _ in range(1000):
        path = copy / choose.choice(names)
        before = path.read_bytes()
        after = bytearray(before)
        one, other = choose.randrange(len(before)), choose.randrange(len(before))
        if choose.random() < 0.5:
            after[one] ^= choose.randrange(1, 256)
        else:
            after[one], after[other] = after[other], after[one]
        path.write_bytes(after)
        try:
            opened = Bundle.open(copy)
        except BundleError as error:
            assert "\n" not in str(error)
        else:  # a swap of equals, or of white space
            assert bytes(after) == before or path.name == "manifest.json"
            assert opened.manifest == Bundle.open(bundle).manifest
        finally:
            path.write_bytes(before)


def test_fifty_hostile_manifests_are_refused_or_judge_nothing_wrong(bundle, tmp_path) -> None:
    choose = random.Random(1)
    copy = tmp_path / "copy.edge"
    shutil.copytree(bundle, copy)
    path = copy / "manifest.json"
    content = json.loads(path.read_text())
    del content["seal"]
    odd = [None, -1, 0, 1e308, "", "x" * 10_000, [], {}, [[[]]], True, "../../etc/passwd", 2**70]
    for _ in range(50):
        hostile = json.loads(json.dumps(content))
        hostile[choose.choice(sorted(hostile))] = choose.choice(odd)
        path.write_text(json.dumps({**hostile, "seal": _seal(hostile)}))
        with contextlib.suppress(BundleError, EngineError, ValueError):
            edge.load(copy, engine="onnxruntime").close()


def hostile_graph(model: onnx.ModelProto, choose: random.Random) -> None:
    """Change a graph so that it is still one."""
    nodes = model.graph.node
    node = choose.choice(nodes)
    match choose.randrange(6):
        case 0:
            node.op_type = choose.choice(["Conv", "If", "Loop", "Identity", "NoSuchOperator"])
        case 1:
            node.input[0] = choose.choice(["", "image", "nothing", *node.output])
        case 2:
            node.domain = "com.microsoft"
        case 3:
            tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1])
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="/etc/hostname")
            nodes.append(helper.make_node("Constant", [], ["t"], value=tensor))
        case 4:
            choose.choice(model.graph.initializer).dims[:] = [choose.choice([0, -1, 1 << 40])]
        case _:
            del nodes[choose.randrange(len(nodes))]


def test_fifty_hostile_graphs_start_no_engine(bundle, tmp_path) -> None:
    choose = random.Random(2)
    opened = Bundle.open(bundle)
    files = {name: opened.read(name) for name in opened.manifest.files}
    for number in range(50):
        model = onnx.load_model_from_string(files["model.onnx"])
        hostile_graph(model, choose)
        made = write_bundle(
            tmp_path / f"{number}.edge",
            manifest=opened.manifest,
            files={**files, "model.onnx": model.SerializeToString()},
        )
        try:
            edge.load(made.path, engine="onnxruntime").close()
        except (BundleError, EngineError) as error:
            assert len(str(error)) < 2000
        shutil.rmtree(made.path)


def answers(stranger: socket.socket, frame: bytes) -> bool:
    """Send a frame; whether the connection is good for another one."""
    stranger.settimeout(0.05)  # a frame whose length promises more than comes is waited for
    try:
        stranger.sendall(frame)
        return bool(stranger.recv(4096))
    except OSError:
        return False


def test_ten_thousand_frames_leave_a_plc_its_connection(tmp_path: Path) -> None:
    from scoring import Scoring

    choose = random.Random(3)
    options = StationOptions(name="flange", deadline_ms=5000.0)
    with (
        Station(ThreadWorker(Scoring()), options=options) as station,
        ModbusBridge(station, ModbusSection(port=0)) as bridge,
        socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as plc,
    ):
        ask = struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 1, 1)
        stranger = socket.create_connection(("127.0.0.1", bridge.port), timeout=10)
        for number in range(10_000):
            frame = bytearray(struct.pack(">HHHB", number, 0, 6, 1) + choose.randbytes(5))
            if choose.random() < 0.1:
                frame[choose.randrange(len(frame))] ^= choose.randrange(1, 256)
            if not answers(stranger, frame):
                stranger.close()
                stranger = socket.create_connection(("127.0.0.1", bridge.port), timeout=10)
            if number % 100 == 0:
                plc.sendall(ask)
                assert plc.recv(300)[7] == 4
        stranger.close()
        assert bridge.traffic.requests > 3000 and bridge.traffic.malformed > 100, bridge.traffic


def test_a_hundred_requests_leave_the_monitor_its_answers() -> None:
    choose = random.Random(4)
    with Monitor("127.0.0.1:0", lambda: {"ready": True}) as monitor:
        good = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{monitor.port}\r\n\r\n".encode()
        for _ in range(100):
            bad = bytearray(good)
            for _ in range(choose.randrange(1, 6)):
                bad[choose.randrange(len(bad))] = choose.randrange(256)
            with (
                socket.create_connection(("127.0.0.1", monitor.port), timeout=10) as end,
                contextlib.suppress(OSError),
            ):
                end.sendall(bad)
                end.shutdown(socket.SHUT_WR)
                end.recv(1000)
            with socket.create_connection(("127.0.0.1", monitor.port), timeout=10) as end:
                end.sendall(good)
                assert end.recv(1000).startswith(b"HTTP/1.0 200")
