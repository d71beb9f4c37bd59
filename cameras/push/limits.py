"""An HTTP server that strangers may reach: so many connections at once, each for so long."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cameras.push.address import Binding

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
        newcomers: whether one that comes while all places are taken gets that of the oldest;
            otherwise it is closed.
        rate_hz: connections that are accepted each second once `burst` came at a time; the next
            wait in the system's queue. None = no limit.
        burst: fewer than `places`, so that each keeps its place for (places - burst) / rate_hz.
    """

    places: int
    seconds: float
    newcomers: bool = False
    rate_hz: float | None = None
    burst: int = 0


class LimitedServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves each connection in a thread, within limits; `start` begins, `end` ends it.

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
    daemon_threads = True

    def __init__(
        self, binding: Binding, handler: HandlerFactory, *, limits: Limits, name: str
    ) -> None:
        if ":" in binding.host:
            self.address_family = socket.AF_INET6
        self.request_queue_size = limits.places
        self.limits = limits
        self._lock = threading.Condition()
        self._open: dict[socket.socket, float] = {}  # and when each was last of use
        self._leaving: set[socket.socket] = set()  # those that lost their place
        self._due_s = 0.0
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_S,), name=name, daemon=True
        )
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

    def mark_useful(self, connection: socket.socket) -> None:
        """Note that a connection has just brought what it is there for."""
        with self._lock:
            if connection in self._open:
                self._open[connection] = time.monotonic()

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
            if len(self._open) >= self.limits.places:
                if not self.limits.newcomers:
                    LOG.warning("%s: %d hosts are connected", self.bound.address, len(self._open))
                    return False
                oldest = min(self._open, key=self._open.__getitem__)
                del self._open[oldest]
                self._leaving.add(oldest)
                _shut(oldest)
            self._open[connection] = time.monotonic()
        return True

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
            for connection, since in self._open.items():
                if since < oldest:
                    _shut(connection)

    def handle_error(self, request: _RequestType, client_address: _AfInetAddress) -> None:
        """A host that went away is no error of ours; anything else is logged with its trace."""
        LOG.info("%s: a connection ended", self.bound.address, exc_info=True)


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
