"""How long a PLC waits beyond the inspection itself; reported, never judged.

``pytest -m benchmark -s tests/edge/test_modbus_latency.py`` on a machine that does nothing else.
The station and its bridge are this process, the inspection is another, the PLC (libmodbus) a third,
and the hogs burn a core each beside them. A bare echo over TCP, measured in the same minute, tells
what the machine itself takes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.bridges.modbus import ModbusBridge, ModbusSection, open_bridge
from edge.station import InspectionResult, StationOptions, word_from_sequence
from edge.station.judging import JudgeOptions
from edge.station.process_worker import ProcessWorker
from edge.station.station import Station

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

SOURCE = Path(__file__).parent / "plc" / "plc.c"
CYCLES = int(os.environ.get("EDGE_PLC_CYCLES", "1000"))
WORKER = """
import sys, time
from edge.station.child import begin, serve
from edge.station.jobs import Answer, Recipe
from edge.station.words import Evaluation

class Judge:
    def load(self, recipe_id):
        return Recipe(recipe_id, threshold=0.5, simulated=True)

    def inspect(self, job):
        begun = time.perf_counter_ns()
        while time.perf_counter_ns() - begun < 5_000_000:  # an inspection needs its core
            pass
        permille = job.part_id % 1000
        verdict = Evaluation.NOT_OK if permille >= 500 else Evaluation.OK
        spent = (time.perf_counter_ns() - begun) // 1000
        return Answer(job.seq, verdict, score=permille / 1000, process_us=spent)

    def close(self):
        pass

wire = begin(int(sys.argv[1]))
plan = wire.receive()
sys.exit(serve(wire, Judge(), plan.recipe_id))
"""
HOG = "import time\nwhile True: sum(range(1000))"


@pytest.fixture(scope="module")
def plc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if subprocess.run(["pkg-config", "--exists", "libmodbus"], check=False).returncode:
        pytest.skip("no libmodbus; apt-get install libmodbus-dev gcc pkg-config")
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libmodbus"], text=True)
    program = tmp_path_factory.mktemp("plc") / "plc"
    subprocess.run(["cc", "-O2", "-o", str(program), str(SOURCE), *flags.split()], check=True)
    return program


@contextmanager
def hogs(count: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", HOG]))
            stack.callback(hog.kill)
        yield


def echo_us(rounds: int) -> np.ndarray:
    """Round trips, in µs, of 12 bytes there and 73 back between a thread here and asyncio's."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(bytes(73))

        def connection_lost(self, exc: Exception | None) -> None:
            loop.call_soon(loop.stop)  # the transport's own end comes first

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    create = loop.create_server(Echo, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(create, loop).result()
    spent = []
    with socket.create_connection(server.sockets[0].getsockname()) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            begun = time.perf_counter_ns()
            peer.sendall(bytes(12))
            left = 73
            while left:
                left -= len(peer.recv(left))
            spent.append((time.perf_counter_ns() - begun) / 1000)
            time.sleep(0.001)
        loop.call_soon_threadsafe(server.close)
    thread.join()
    loop.close()
    return np.array(spent)


def beyond_us(plc: Path, bridge: ModbusBridge, station: Station, *, scan_us: int) -> np.ndarray:
    """Trigger to result as the PLC sees it, less the inspection, in µs, of each part."""
    results: list[InspectionResult] = []
    cancel = station.on_result(results.append)
    seen = plc.with_name("us")
    told = [bridge.port, CYCLES, scan_us, 5000, 4_000_000_000, 1, seen]
    subprocess.run([plc, "127.0.0.1", *map(str, told)], check=True, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while len(results) < CYCLES and time.monotonic() < end:
        time.sleep(0.01)
    cancel()
    inspected = {word_from_sequence(result.seq): result.process_us for result in results}
    return np.array([total - inspected[int(seq)] for total, _, seq in np.loadtxt(seen)])


def line(what: str, spent_us: np.ndarray) -> str:
    p50, p99, worst = np.percentile(spent_us, [50, 99, 100]) / 1000
    return f"{what:58s} p50 {p50:6.2f}  p99 {p99:6.2f}  max {worst:6.2f} ms"


@pytest.mark.parametrize("burning", [0, 1, 2])
def test_latency(
    plc: Path, tmp_path: Path, burning: int, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    worker = ProcessWorker(
        JudgeOptions(recipes={1: "none"}, source="none"), command=(sys.executable, str(script))
    )
    load = os.getloadavg()[0]
    lines = [
        f"{burning} hogs, {os.cpu_count()} cores, load {load:.1f} before, nice {os.nice(0)}, "
        f"{CYCLES} parts of 5 ms"
    ]
    with (
        Station(worker, options=StationOptions(deadline_ms=5000.0)) as station,
        open_bridge(station, ModbusSection(port=0)) as bridge,
        hogs(burning),
    ):
        station.wait_ready(30)
        lines.append(line("bare echo over TCP, one round trip", echo_us(CYCLES)))
        for scan_us in (1000, 0):
            spent = beyond_us(plc, bridge, station, scan_us=scan_us)
            how = f"scanning every {scan_us} µs" if scan_us else "scanning without pause"
            lines.append(line(f"trigger to result beyond the inspection, {how}", spent))
    with capsys.disabled():
        print("\n" + "\n".join(lines))
