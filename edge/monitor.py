"""``/healthz`` and ``/metrics`` for this machine alone: read-only, nothing else is answered."""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cameras.closing import Closing

TIMEOUT_S = 5.0
MOST_CLIENTS = 8
_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_log = logging.getLogger("edge.monitor")

Report = Callable[[], Mapping[str, Any]]
Exposition = Callable[[Mapping[str, Any]], tuple[bytes, str]]


class MonitorError(ValueError):
    """It cannot be opened there."""


class Monitor(Closing):
    """An HTTP server on loopback; released by `close` or at the end of `with`.

    It answers GET and HEAD of two paths, to requests that name this machine and come from no
    other web page, eight at a time, each within five seconds.

    Args:
        address: ``127.0.0.1:9464``, ``[::1]:9464``; port 0 takes a free one.
        report: what is known, with ``ready``.
        expose: makes the text of ``/metrics`` and its type from a report; None where the library
            is not installed.

    Attributes:
        host: as addresses have it.
        port: that it listens on.

    Raises:
        MonitorError: no loopback address, or the port is taken.
    """

    def __init__(self, address: str, report: Report, *, expose: Exposition | None) -> None:
        host, port = _parsed(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET

        class Server(ThreadingHTTPServer):
            address_family = family
            daemon_threads = True
            request_queue_size = 2 * MOST_CLIENTS

        class Handler(_Handler):
            pages = _Pages(report, expose)

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise MonitorError(f"{address}: {error.strerror}; give another port") from error
        self.host = f"[{host}]" if ":" in host else host
        self.port = int(self._server.server_address[1])
        Handler.hosts = _hosts(host, self.port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="edge-monitor", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Pages:
    """What is answered to a path."""

    def __init__(self, report: Report, expose: Exposition | None) -> None:
        self._report = report
        self._expose = expose

    def answer(self, path: str) -> tuple[HTTPStatus, bytes, str]:
        if path == "/healthz":
            report = self._report()
            status = HTTPStatus.OK if report["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
            return status, (json.dumps(report) + "\n").encode(), _JSON
        if path == "/metrics" and self._expose is not None:
            return HTTPStatus.OK, *self._expose(self._report())
        if path == "/metrics":
            line = b"no prometheus-client here; pip install 'protoedge[metrics]'\n"
            return HTTPStatus.NOT_IMPLEMENTED, line, _TEXT
        return HTTPStatus.NOT_FOUND, b"/healthz and /metrics\n", _TEXT


class _Handler(BaseHTTPRequestHandler):
    """One request, then the connection is closed."""

    pages: _Pages
    hosts: frozenset[str]
    timeout = TIMEOUT_S
    server_version = "edge"
    sys_version = ""
    _slots = threading.BoundedSemaphore(MOST_CLIENTS)

    def handle(self) -> None:
        if not self._slots.acquire(blocking=False):
            return
        try:
            super().handle()
        except OSError as error:
            _log.debug("a client left: %s", error)
        finally:
            self._slots.release()

    def do_GET(self) -> None:  # the library's name
        self._answer(body=True)

    def do_HEAD(self) -> None:  # the library's name
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Nothing: what strangers send does not fill the log."""

    def _answer(self, *, body: bool) -> None:
        status, content, kind = self._refusal() or self.pages.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refusal(self) -> tuple[HTTPStatus, bytes, str] | None:
        """Why a web page that somebody on this machine has open gets nothing."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.hosts:
            return HTTPStatus.FORBIDDEN, b"another host's name\n", _TEXT
        if self.headers.get("Origin") is not None:
            return HTTPStatus.FORBIDDEN, b"not for web pages\n", _TEXT
        return None


def _parsed(address: str) -> tuple[str, int]:
    """Host and port of an address on this machine."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    wanted = "give 127.0.0.1:PORT; from elsewhere it is reached through a proxy"
    host = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not (colon and loopback and port.isdigit() and int(port) <= 65535):
        raise MonitorError(f"{address}: no address of this machine alone; {wanted}")
    return host, int(port)


def _hosts(host: str, port: int) -> frozenset[str]:
    """What a request may call this machine."""
    names = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
    return frozenset({*names, *(f"{name}:{port}" for name in names)})
