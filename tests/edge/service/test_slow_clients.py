"""Slow clients take places of the monitor, and never the last one."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest
from asking import asked, connected
from slow_clients import SlowClients
from waiting import wait_until

from edge.service import http_server as module
from edge.service import metrics
from edge.service.http_server import MAX_CONNECTIONS, Monitor

LARGE = b"x" * 4_000_000  # more than the system keeps of what nobody reads
REPORT = {"ready": True, "reasons": {}, "cameras": {}}


def open_monitor() -> Monitor:
    return Monitor("127.0.0.1:0", lambda: REPORT)


def threads() -> int:
    return sum(thread.name.endswith("-connection") for thread in threading.enumerate())


@pytest.mark.parametrize(("count", "requests"), [(50, 30), (MAX_CONNECTIONS + 30, 5)])
def test_whoever_sends_a_byte_at_a_time_shuts_nobody_out(count, requests) -> None:
    with open_monitor() as monitor, SlowClients(monitor.port, count):
        for _ in range(requests):
            assert asked(monitor.port, "/healthz").status == 200
        # Those that lost their place end in half a second.
        wait_until(lambda: threads() <= MAX_CONNECTIONS + 60, within_s=10)


def test_whoever_never_reads_shuts_nobody_out(monkeypatch) -> None:
    monkeypatch.setattr(metrics, "metrics_from_report", lambda _: (LARGE, "text/plain"))
    first = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
    with open_monitor() as monitor:
        first %= monitor.port
        with SlowClients(monitor.port, MAX_CONNECTIONS + 10, first=first, reads=False):
            for _ in range(2):
                said = asked(monitor.port, "/metrics")
                assert (said.status, said.body) == (200, LARGE)


def test_whoever_says_nothing_shuts_nobody_out() -> None:
    with open_monitor() as monitor, SlowClients(monitor.port, 2 * MAX_CONNECTIONS, first=b""):
        for _ in range(3):
            assert asked(monitor.port, "/healthz").status == 200


def test_a_request_has_so_long_in_all_however_it_trickles(monkeypatch) -> None:
    limits = dataclasses.replace(module._LIMITS, seconds=0.6)
    monkeypatch.setattr(module, "_LIMITS", limits)
    with open_monitor() as monitor, connected(monitor.port) as slow:
        began = time.monotonic()
        with pytest.raises(OSError):  # reset or broken, as it happens
            while time.monotonic() - began < 30:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began >= 0.5
        wait_until(lambda: threads() == 0)


def test_closing_ends_what_is_open() -> None:
    before = threading.active_count()
    monitor = open_monitor()
    with SlowClients(monitor.port, 20):
        wait_until(lambda: threads() == 20)
        began = time.monotonic()
        monitor.close()
        monitor.close()
        assert time.monotonic() - began < 8
        assert threads() == 0
    assert threading.active_count() == before
