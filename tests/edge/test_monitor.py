"""/healthz and /metrics: for this machine alone, whatever is sent."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.metrics import metrics_from_report
from edge.monitor import MOST_CLIENTS, Monitor, MonitorError

CAMERA = {
    "ready": True,
    "reason": "",
    "frames": 6,
    "ok": 3,
    "ng": 2,
    "error": 1,
    "dropped": 4,
    "not_written": 5,
    "frame_age_s": 0.031,
    "latency_ms": {"buckets": {"5": 1, "10": 2, "+Inf": 3}, "sum": 123.0},
    "stage_ms": {"prepare": 10.0, "engine": 20.0},
    "self_test": {"passed": True, "age_s": 60.0, "failures": 0},
    "reloads": {"done": 1, "refused": 2},
    "troubles": ["/disk: full"],
}
SHARED = {"troubles": [], "not_written": 0}
REPORT = {"ready": True, "reasons": {}, **SHARED, "cameras": {'le"ft\n': CAMERA, "": CAMERA}}


@pytest.fixture(scope="module")
def monitor():
    with Monitor("127.0.0.1:0", lambda: REPORT, expose=metrics_from_report) as opened:
        yield opened


def talk(monitor: Monitor, data: bytes) -> bytes:
    """Send bytes and return what comes back."""
    with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as end:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := end.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
    return b"".join(parts)


def get(monitor: Monitor, path: str = "/healthz", *, headers: str = "", method="GET") -> bytes:
    host = headers or f"Host: 127.0.0.1:{monitor.port}\r\n"
    return talk(monitor, f"{method} {path} HTTP/1.1\r\n{host}\r\n".encode())


def test_health_is_a_status_and_an_object(monitor, monkeypatch) -> None:
    head, _, body = get(monitor).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert json.loads(body) == REPORT
    monkeypatch.setitem(REPORT, "ready", False)
    assert get(monitor).startswith(b"HTTP/1.0 503")
    head, _, body = get(monitor, method="HEAD").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 503")
    assert body == b""


def test_metrics_are_in_the_format_that_prometheus_reads(monitor) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    head, _, body = get(monitor, "/metrics").partition(b"\r\n\r\n")
    assert b"text/plain" in head
    found = {
        (sample.name, sample.labels.get("camera"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    values = {(key[0], key[1]): value for key, value in found.items()}
    for camera in REPORT["cameras"]:
        assert values["edge_frames_dropped_total", camera] == 4
        assert values["edge_latency_seconds_count", camera] == 6
        assert values["edge_latency_seconds_sum", camera] == pytest.approx(0.123)
        assert values["edge_sinks_in_trouble", camera] == 1
        assert found[("edge_results_total", camera, *sorted(("NG", camera)))] == 2
    assert values["edge_ready", None] == 1
    assert values["process_open_fds", None] > 0


def test_without_the_library_it_says_what_to_install() -> None:
    with Monitor("127.0.0.1:0", lambda: REPORT, expose=None) as monitor:
        assert b"501" in get(monitor, "/metrics")
        assert b"protoedge[metrics]" in get(monitor, "/metrics")
        assert b" 200 " in get(monitor)


@pytest.mark.parametrize(
    "headers",
    [
        "Host: evil.example\r\n",
        "Host: evil.example:{port}\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: 127.0.0.1:1\r\n",
        "Host: 0.0.0.0:{port}\r\n",
        "Host: \r\n",
        "X: y\r\n",
        "Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n",
        "Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example\r\n",
        "Host: localhost:{port}\r\nOrigin: null\r\n",
        "Host: user@127.0.0.1:{port}\r\n",
        "Host: 127.0.0.1:{port}/x\r\n",
    ],
)
def test_other_names_and_web_pages_get_nothing(monitor, headers) -> None:
    answer = get(monitor, headers=headers.format(port=monitor.port))
    assert answer.split(b" ")[1] in (b"403", b"400")
    assert b"cameras" not in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/healthz?x=1"),
        ("GET", "/../healthz"),
        ("GET", "http://127.0.0.1/healthz"),
        ("POST", "/healthz"),
        ("PUT", "/metrics"),
        ("DELETE", "/metrics"),
        ("OPTIONS", "/healthz"),
        ("CONNECT", "127.0.0.1:22"),
        ("TRACE", "/healthz"),
    ],
)
def test_nothing_else_is_answered(monitor, method, path) -> None:
    answer = get(monitor, path, method=method)
    assert answer.split(b" ")[1] in (b"404", b"501", b"400", b"405")
    assert b"cameras" not in answer


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=2000))
def test_any_bytes_leave_it_standing(monitor, data) -> None:
    answer = talk(monitor, data)
    assert b"cameras" not in answer or data.startswith(b"GET /healthz")


def test_a_header_without_end_and_many_idle_clients_do_not_stop_it(monitor) -> None:
    # The answer may be lost with the bytes that nobody reads.
    assert b" 200 " not in talk(monitor, b"GET /healthz HTTP/1.1\r\n" + b"A: " + b"x" * 200_000)
    idle = [socket.create_connection(("127.0.0.1", monitor.port)) for _ in range(3 * MOST_CLIENTS)]
    before = threading.active_count()
    assert before < 4 * MOST_CLIENTS
    for end in idle:
        end.close()
    deadline = time.monotonic() + 30
    while b" 200 " not in get(monitor):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9464", "192.168.0.1:9464", ":9464", "9464", "127.0.0.1", "x:1", "[::]:1"]
)
def test_it_is_opened_for_this_machine_alone(address) -> None:
    with pytest.raises(MonitorError, match="this machine alone"):
        Monitor(address, lambda: REPORT, expose=None)


def test_a_port_that_is_taken_is_told(monitor) -> None:
    with pytest.raises(MonitorError, match="another port"):
        Monitor(f"127.0.0.1:{monitor.port}", lambda: REPORT, expose=None)
