"""An HTTP server that strangers may reach: so many connections at once, each for so long."""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cameras.push.address import Binding
from cameras.push.crowd import Crowd, keep_alive
from process.out_of_memory import is_out_of_memory
from process.threads import FAILURES, GuardedThread

if TYPE_CHECKING:
    from socketserver import _AfInetAddress, _RequestType

LOG = logging.getLogger("cameras")
_CLOSE_S = 10.0
_TIRED_S = 0.1  # before the next try when no connection can be accepted
_POLL_S = 0.1

HandlerFactory = Callable[[Any, Any, socketserver.BaseServer], socketserver.BaseRequestHandler]


@dataclass(frozen=True, slots=True)
class Limits:
    """What those who connect may take.

    Attributes:
        places: connections at once.
        seconds: that a connection has from its beginning, or from when it was last of use, for
            reading and writing together, however slowly bytes trickle.
        rate_hz: connections that are accepted each second once `burst` came at a time; the next
            wait in the system's queue. None = no limit.
        burst: fewer than `places`, so that each keeps its place for (places - burst) / rate_hz.
    """

    places: int
    seconds: float
    rate_hz: float | None = None
    burst: int = 0


class Standing(enum.IntEnum):
    """What a connection has shown so far: whoever has shown least makes room first."""

    STRANGER = 0
    """Nothing yet."""
    ADMITTED = 1
    """That it may ask."""
    USEFUL = 2
    """What it is there for; its place is its own."""


@dataclass(slots=True)
class _Guest:
    """An open connection: what it has shown, where it comes from, and when it was last of use."""

    peer: str
    since_s: float
    standing: Standing = Standing.STRANGER


class LimitedServer(socketserver.TCPServer):
    """Serves each connection in a thread, within limits; `start` begins, `end` ends it.

    One that comes while all places are taken gets the place of one that has shown less than the
    others, the oldest of these. Where all have been of use it is closed.

    Args:
        binding: where; see `bound` for the port that it got.
        handler: serves one connection.
        limits: what connections may take.
        name: of its thread.

    Attributes:
        bound: where it listens.

    Raises:
        OSError: the address cannot be had.
    """

    allow_reuse_address = True

    def __init__(
        self, binding: Binding, handler: HandlerFactory, *, limits: Limits, name: str
    ) -> None:
        if ":" in binding.host:
            self.address_family = socket.AF_INET6
        self.request_queue_size = limits.places
        self.limits = limits
        self._lock = threading.Condition()
        self._open: dict[socket.socket, _Guest] = {}
        self._leaving: set[socket.socket] = set()  # those that lost their place
        self._crowd = Crowd()
        self._due_s = 0.0
        self._thread = GuardedThread(partial(self.serve_forever, _POLL_S), name=name)
        super().__init__((binding.host, binding.port), handler)
        self.bound = Binding(binding.host, int(self.server_address[1]), binding.token)

    def start(self) -> None:
        """Accept connections from now on."""
        self._thread.start()

    def end(self) -> None:
        """Accept none any more, close what is open and wait for its threads; twice is once."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._open:
                _shut(connection)
            self._lock.wait_for(lambda: not (self._open or self._leaving), timeout=_CLOSE_S)

    def mark(self, connection: socket.socket, standing: Standing) -> None:
        """Note what a connection has just shown; its time begins anew."""
        with self._lock:
            guest = self._open.get(connection)
            if guest is not None:
                guest.since_s = time.monotonic()
                guest.standing = max(guest.standing, standing)

    @property
    def trouble(self) -> str:
        """That places were lacking within the last minute; empty if not."""
        with self._lock:
            return self._crowd.trouble(time.monotonic())

    # What the library calls.

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection when its turn has come."""
        if self.limits.rate_hz is not None:
            now, period_s = time.monotonic(), 1 / self.limits.rate_hz
            self._due_s = max(self._due_s, now - self.limits.burst * period_s) + period_s
            time.sleep(max(0.0, self._due_s - now))
        try:
            return super().get_request()
        except OSError:  # such as too many open files: it would be tried again at once
            time.sleep(_TIRED_S)
            raise

    def verify_request(self, request: _RequestType, client_address: _AfInetAddress) -> bool:
        """Give a connection its place."""
        connection: Any = request
        with self._lock:
            if len(self._open) >= self.limits.places and not self._make_room(
                str(client_address[0])
            ):
                return False
            keep_alive(connection)
            self._open[connection] = _Guest(str(client_address[0]), time.monotonic())
        return True

    def _make_room(self, newcomer: str) -> bool:
        """End the connection that has shown least; holds the lock."""
        least = min(self._open, key=lambda one: (self._open[one].standing, self._open[one].since_s))
        refused = self._open[least].standing is Standing.USEFUL
        loser = newcomer if refused else self._open[least].peer
        if self._crowd.note(loser, time.monotonic()):
            LOG.warning(
                "%s: all %d places were taken; closed the connection of %s; who connects there and "
                "brings nothing?",
                *(self.bound.address, self.limits.places, loser),
            )
        if refused:
            return False
        del self._open[least]
        self._leaving.add(least)
        _shut(least)
        return True

    def process_request(self, request: _RequestType, client_address: _AfInetAddress) -> None:
        """Serve a connection in a thread of its own."""
        serve = partial(self._serve, request, client_address)
        GuardedThread(serve, name=f"{self._thread.name}-connection", goes_on=False).start()

    def _serve(self, request: _RequestType, client_address: _AfInetAddress) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001  # the border: one connection's end is not the others'
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)

    def shutdown_request(self, request: _RequestType) -> None:
        """Close a connection, and give its place back."""
        connection: Any = request
        try:
            super().shutdown_request(request)
        finally:
            with self._lock:
                self._open.pop(connection, None)
                self._leaving.discard(connection)
                self._lock.notify_all()

    def service_actions(self) -> None:
        """End connections whose time is over."""
        oldest = time.monotonic() - self.limits.seconds
        with self._lock:
            for connection, guest in self._open.items():
                if guest.since_s < oldest:
                    _shut(connection)

    def handle_error(self, request: _RequestType, client_address: _AfInetAddress) -> None:
        """A host that went away is no error of ours; anything else is one that nobody foresaw."""
        error = sys.exc_info()[1]
        if is_out_of_memory(error):
            with self._lock:
                is_news = self._crowd.note(str(client_address[0]), time.monotonic())
            if is_news:
                LOG.warning("%s: too little memory for a further connection", self.bound.address)
        elif error is None or isinstance(error, OSError):
            LOG.info("%s: a connection ended", self.bound.address, exc_info=True)
        else:
            FAILURES.note(f"{self.bound.address}: a connection", error, goes_on=True)


def host_names(host: str, port: int) -> frozenset[str]:
    """What a request's Host may be for an address of this machine, in lower case.

    Nothing else: by another name, a page in a browser here could reach what is for this machine.

    Args:
        host: the IP address, with or without a zone; as IPv6 it may stand for one of IPv4.
        port: that was connected to.
    """
    ip = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    names = {f"[{ip}]" if ip.version == 6 else str(ip)}
    if str(ip) in ("127.0.0.1", "::1"):
        names.add("localhost")
    return add_port(names, port)


def add_port(names: set[str], port: int) -> frozenset[str]:
    """Names as they are asked for at a port, which a browser leaves out where it is 80."""
    asked = {f"{name}:{port}" for name in names}
    return frozenset(asked | names if port == 80 else asked)


def _shut(connection: socket.socket) -> None:
    """End its reading and writing, wherever its thread is."""
    with contextlib.suppress(OSError):  # it has left by itself
        connection.shutdown(socket.SHUT_RDWR)
