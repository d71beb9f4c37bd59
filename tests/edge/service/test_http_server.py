"""/healthz and /metrics: what they say, and what else is asked."""

from __future__ import annotations

import json
import socket

import pytest
from asking import answer_of, asked, connected, talk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.service.http_access import MonitorError
from edge.service.http_server import Monitor

CAMERA = {
    "ready": True,
    "reason": "",
    "live": True,
    "frames": 6,
    "ok": 3,
    "ng": 2,
    "error": 1,
    "today": {"ok": 1003, "ng": 12, "error": 1},
    "dropped": 4,
    "not_written": 5,
    "frame_age_s": 0.031,
    "latency_ms": {"buckets": {"5": 1, "10": 2, "+Inf": 3}, "sum": 123.0},
    "stage_ms": {"prepare": 10.0, "engine": 20.0},
    "self_test": {"passed": True, "age_s": 60.0, "failures": 0},
    "reloads": {"done": 1, "refused": 2},
    "sinks_in_trouble": 1,
    "troubles": ["/disk: full"],
    "drift": {"state": "higher", "median": 0.2, "spread": 0.1},
    "other_source": "",
}
SHARED = {"troubles": [], "not_written": 0, "thread_failures": 0}
REPORT = {"ready": True, "reasons": {}, **SHARED, "cameras": {'le"ft\n': CAMERA, "": CAMERA}}


@pytest.fixture(scope="module")
def monitor():
    with Monitor("127.0.0.1:0", lambda: REPORT) as opened:
        yield opened


def test_health_is_a_status_and_an_object(monitor, monkeypatch) -> None:
    said = asked(monitor.port, "/healthz")
    assert (said.status, said.json()) == (200, REPORT)
    monkeypatch.setitem(REPORT, "ready", False)
    assert asked(monitor.port, "/healthz").status == 503
    said = asked(monitor.port, "/healthz", method="HEAD")
    assert (said.status, said.body) == (503, b"")
    assert int(said.head["content-length"]) > 100


def test_metrics_are_in_the_format_that_prometheus_reads(monitor) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    said = asked(monitor.port, "/metrics")
    assert "text/plain" in said.head["content-type"]
    found = {
        (sample.name, sample.labels.get("camera"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(said.body.decode())
        for sample in family.samples
    }
    values = {(key[0], key[1]): value for key, value in found.items()}
    for camera in REPORT["cameras"]:
        assert values["edge_frames_dropped_total", camera] == 4
        assert values["edge_latency_seconds_count", camera] == 6
        assert values["edge_latency_seconds_sum", camera] == pytest.approx(0.123)
        assert values["edge_sinks_in_trouble", camera] == 1
        assert found[("edge_results_total", camera, *sorted(("NG", camera)))] == 2
        assert found[("edge_results_today", camera, *sorted(("NG", camera)))] == 12
    assert values["edge_ready", None] == 1
    assert values["process_open_fds", None] > 0


@pytest.mark.parametrize("path", ["/", "/page.js", "/cameras//live.jpg", "/cameras//rejects.json"])
def test_without_pictures_there_is_no_page(monitor, path) -> None:
    assert asked(monitor.port, path).status == 404


def test_every_answer_says_that_it_is_for_this_page_alone(monitor) -> None:
    for path, headers in (("/healthz", ()), ("/x", ()), ("/healthz", ("Origin: null",))):
        head = asked(monitor.port, path, *headers).head
        assert "default-src 'none'" in head["content-security-policy"]
        assert "frame-ancestors 'none'" in head["content-security-policy"]
        assert head["cross-origin-resource-policy"] == "same-origin"
        assert head["x-content-type-options"] == "nosniff"
        assert head["referrer-policy"] == "no-referrer"
        assert head["cache-control"] == "no-store"
        assert not [name for name in head if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz?x=1", 404),
        ("GET", "/../healthz", 404),
        ("GET", "/%2e%2e/healthz", 404),
        ("GET", "http://127.0.0.1/healthz", 404),
        ("GET", "*", 404),
        ("POST", "/healthz", 405),
        ("PUT", "/metrics", 405),
        ("PATCH", "/", 405),
        ("DELETE", "/metrics", 405),
        ("OPTIONS", "/healthz", 405),
        ("CONNECT", "127.0.0.1:22", 405),
        ("TRACE", "/healthz", 405),
        ("get", "/healthz", 400),
        ("GET", "/health z", 400),
        ("GET", "/healthz\x01", 400),
    ],
)
def test_nothing_else_is_answered(monitor, method, path, status) -> None:
    said = asked(monitor.port, path, method=method)
    assert said.status == status
    assert b"cameras" not in said.body


HOST = b"Host: 127.0.0.1:%d\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /healthz HTTP/0.9\r\n%s\r\n", 400),
        (b"GET /healthz\r\n%s\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n%s\r\n", 400),
        (b"\r\n%s\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),  # the beginning of TLS
        (b"GET /healthz HTTP/1.1\r\n%sno header\r\nOrigin: http://evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n%sA: b\r\n  folded\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n%sA : b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n%sA: \0\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n%s" + b"A: b\r\n" * 64 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n%sA: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n%s\r\n", 431),
    ],
)
def test_heads_that_are_none_or_too_large_are_refused(monitor, data, status) -> None:
    said = answer_of(talk(monitor.port, data.replace(b"%s", HOST % monitor.port)))
    # What nobody reads any more may take the answer with it.
    assert said.status == status or (status == 431 and said.status == 0)


def test_a_body_is_not_waited_for(monitor) -> None:
    said = asked(monitor.port, "/healthz", "Content-Length: 1000000", "Expect: 100-continue")
    assert said.status == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=2000))
def test_any_bytes_leave_it_standing(monitor, data) -> None:
    with connected(monitor.port) as end:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
        answer = end.recv(100)
    assert not answer or answer.startswith(b"HTTP/1.0 4")


@pytest.mark.parametrize("address", ["9464", "127.0.0.1", "x:1", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_what_is_no_address_is_told(address) -> None:
    with pytest.raises(MonitorError, match=r"write 127\.0\.0\.1:9464"):
        Monitor(address, lambda: REPORT)


def test_a_port_that_is_taken_is_told(monitor) -> None:
    with pytest.raises(MonitorError, match="give another"):
        Monitor(f"127.0.0.1:{monitor.port}", lambda: REPORT)


def test_it_is_opened_on_ipv6_as_well() -> None:
    try:
        monitor = Monitor("[::1]:0", lambda: REPORT)
    except MonitorError:
        pytest.skip("no IPv6 here")
    with monitor, socket.create_connection(("::1", monitor.port), timeout=60) as end:
        end.sendall(f"GET /healthz HTTP/1.1\r\nHost: [::1]:{monitor.port}\r\n\r\n".encode())
        answer = end.makefile("rb").read()
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == REPORT
