"""A server that strangers reach: places, their time, their order, and what it may be called."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time

import pytest
from waiting import wait_until

from cameras.push.address import Binding
from cameras.push.limits import LimitedServer, Limits, Standing, host_names


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes, until nothing does."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(100):
                if data == b"!":
                    self.server.mark(self.request, Standing.USEFUL)
                self.request.sendall(data)


@contextlib.contextmanager
def listening(limits: Limits):
    server = LimitedServer(Binding("127.0.0.1", 0), Echo, limits=limits, name="echo")
    server.start()
    try:
        yield server
    finally:
        server.end()
        server.end()


def connected(server: LimitedServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.bound.port), timeout=30)


def is_served(end: socket.socket) -> bool:
    try:
        end.sendall(b"?")
        return end.recv(1) == b"?"
    except OSError:
        return False


def use(end: socket.socket) -> None:
    """Be of use to the server."""
    end.sendall(b"!")
    assert end.recv(1) == b"!"


def test_whoever_has_shown_least_makes_room_the_oldest_first(caplog) -> None:
    with listening(Limits(places=3, seconds=60)) as server, contextlib.ExitStack() as stack:
        ends = [stack.enter_context(connected(server)) for _ in range(3)]
        assert all(map(is_served, ends))
        assert server.trouble == ""
        use(ends[0])
        for _ in range(10):  # strangers push out each other alone
            assert is_served(stack.enter_context(connected(server)))
        assert [is_served(end) for end in ends] == [True, False, False]
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 1 and "all 3 places were taken; closed the connection of 127" in told[0]
        assert "10 connections were closed" in server.trouble


def test_one_that_comes_when_all_have_been_of_use_is_closed() -> None:
    with listening(Limits(places=2, seconds=60)) as server, contextlib.ExitStack() as stack:
        ends = [stack.enter_context(connected(server)) for _ in range(2)]
        for end in ends:
            use(end)
        assert not is_served(stack.enter_context(connected(server)))
        assert all(map(is_served, ends))
        ends[0].close()
        wait_until(lambda: is_served(stack.enter_context(connected(server))))


def test_time_runs_from_when_it_was_last_of_use() -> None:
    with listening(Limits(places=2, seconds=0.5)) as server, connected(server) as end:
        began = time.monotonic()
        for _ in range(10):
            end.sendall(b"!")
            assert end.recv(1) == b"!"
            time.sleep(0.1)
        while is_served(end):  # which is of no use
            assert time.monotonic() - began < 30
            time.sleep(0.02)
        assert time.monotonic() - began > 1.0


def test_those_who_come_too_quickly_wait_for_their_turn() -> None:
    limits = Limits(places=50, seconds=60, rate_hz=40, burst=10)
    with listening(limits) as server:
        began = time.monotonic()
        for _ in range(30):
            with connected(server) as end:
                assert is_served(end)
        assert time.monotonic() - began >= 19 / 40


def test_a_thread_that_cannot_start_gives_its_place_back(monkeypatch) -> None:
    def refuse(_thread) -> None:
        raise RuntimeError("can't start new thread")

    with listening(Limits(places=1, seconds=60)) as server, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with connected(server) as end:
                assert not is_served(end)
        patch.undo()
        with connected(server) as end:
            assert is_served(end)


def test_a_connection_that_cannot_be_accepted_does_not_keep_a_processor_busy(monkeypatch) -> None:
    def full(_self) -> None:
        raise OSError(24, "Too many open files")

    with listening(Limits(places=4, seconds=60)) as server, monkeypatch.context() as patch:
        patch.setattr(socketserver.TCPServer, "get_request", full)
        with connected(server) as end:
            cost_s = time.process_time()
            time.sleep(1.0)
            assert time.process_time() - cost_s < 0.5
            patch.undo()
            assert is_served(end)


@pytest.mark.parametrize(
    ("host", "port", "names"),
    [
        ("127.0.0.1", 8000, {"127.0.0.1:8000", "localhost:8000"}),
        ("::1", 8000, {"[::1]:8000", "localhost:8000"}),
        ("127.0.0.2", 80, {"127.0.0.2:80", "127.0.0.2"}),
        ("::ffff:10.0.0.7", 8000, {"10.0.0.7:8000"}),
        ("fe80::1%eth0", 8000, {"[fe80::1]:8000"}),
    ],
)
def test_what_it_may_be_called(host, port, names) -> None:
    assert host_names(host, port) == names
