"""A server that answers one request a connection; and the page, ``/healthz`` and ``/metrics``.

These are read-only, and only for those who may read. It stands on
`cameras.push.limits.LimitedServer`, not on a WSGI server: waitress neither ends a request that
trickles in for ever nor lets a newcomer take the oldest connection's place, reads a body before it
answers, and takes folded headers and any version of HTTP.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.utils import formatdate
from http import HTTPStatus

from cameras.push.http_head import MAX_HEAD_BYTES, BadHeadError, RequestHead, head_from_bytes
from cameras.push.limits import LimitedServer, Limits
from edge.options import LifeOptions
from edge.service.http_access import Access, MonitorError, RequestGuard, monitor_binding
from edge.service.http_routes import GetReport, Pictures, Response, Routes, text_response

TIMEOUT_S = 5.0
MAX_CONNECTIONS = 64
"""More than are ever asked for at once, so that fifty slow ones shut nobody out."""
_LIMITS = Limits(places=MAX_CONNECTIONS, seconds=TIMEOUT_S, rate_hz=100.0, burst=32)
_READ_BYTES = 4096
_PASSED_OVER = 16  # pieces of a body that nobody asked for
_TRICKLE_S = (0.01, 0.5)  # first and longest pause between two looks at what trickles in
_ALWAYS = (
    ("Server", "edge"),
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Connection", "close"),
)
_log = logging.getLogger("edge.service.http_server")


class Monitor(AbstractContextManager["Monitor"]):
    """An HTTP server; released by `close` or at the end of `with`.

    It answers GET and HEAD, one request a connection, within five seconds for reading and writing
    together. When all places are taken, a newcomer gets that of the oldest.

    Args:
        address: ``127.0.0.1:9464``, ``[::1]:9464``; port 0 takes a free one.
        report: what is known, with ``ready``.
        pictures: of the cameras; None: there is no page.
        access: who may read; everybody on this machine by default.

    Attributes:
        host: as addresses have it.
        port: that it listens on.

    Raises:
        MonitorError: no such address, others reach it and there is no token, or it is taken.
    """

    def __init__(
        self,
        address: str,
        report: GetReport,
        *,
        pictures: Pictures | None = None,
        access: Access | None = None,
    ) -> None:
        access = access or Access()
        self._routes = Routes(report, pictures=pictures)
        self._server = RequestServer(address, self._respond, access=access, name="edge-monitor")
        self.host, self.port = self._server.host, self._server.port
        self._server.start()

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        self._server.end()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _respond(self, head: RequestHead) -> Response:
        if head.method not in ("GET", "HEAD"):
            allow = ("Allow", "GET, HEAD")
            return text_response(HTTPStatus.METHOD_NOT_ALLOWED, "it is read-only", allow)
        known_id = head.headers.get("If-None-Match", "").strip().strip('"')
        return self._routes.respond(head.path, known_id=known_id)


@contextlib.contextmanager
def open_monitor(
    section: LifeOptions,
    report: GetReport,
    *,
    pictures: Pictures | None,
    say: Callable[[str], None],
) -> Iterator[Monitor | None]:
    """Listen while the block runs, if an address is given; None where none is.

    Args:
        section: where to listen, and who may read.
        report: what is known, with ``ready``.
        pictures: of the cameras; None: there is no page.
        say: is told where it listens.

    Raises:
        MonitorError: see `Monitor`.
    """
    if section.monitor is None:
        yield None
        return
    access = Access(section.monitor_token, section.monitor_hosts)
    with Monitor(section.monitor, report, pictures=pictures, access=access) as monitor:
        page = "" if pictures is None else "the page, "
        say(f"http://{monitor.host}:{monitor.port}: {page}/healthz and /metrics")
        yield monitor


class RequestServer(LimitedServer):
    """Answers those who may ask, within five seconds for reading and writing together.

    Args:
        address: ``127.0.0.1:9464``, ``[::1]:9464``; port 0 takes a free one.
        respond: answers a request, in a thread of its own; its body is not read.
        access: who may ask.
        name: of its thread, after ``edge-``.

    Attributes:
        host: as addresses have it.
        port: that it listens on.

    Raises:
        MonitorError: no such address, others reach it and there is no token, or it is taken.
    """

    def __init__(
        self,
        address: str,
        respond: Callable[[RequestHead], Response],
        *,
        access: Access,
        name: str,
    ) -> None:
        what = name.removeprefix("edge-")
        binding = monitor_binding(address, access, what=what)
        try:
            super().__init__(binding, _RequestHandler, limits=_LIMITS, name=name)
        except OSError as error:
            raise MonitorError(f"{what} {address}: {error.strerror}; give another") from error
        self.respond = respond
        self.guard = RequestGuard(self.bound, access.hosts)
        self.host = f"[{self.bound.host}]" if ":" in self.bound.host else self.bound.host
        self.port = self.bound.port


class _RequestHandler(socketserver.BaseRequestHandler):
    """One request, then the connection is closed."""

    server: RequestServer
    request: socket.socket

    def handle(self) -> None:
        """Read a head, answer it; no body is looked at."""
        self.request.settimeout(TIMEOUT_S)
        method = ""
        try:
            try:
                head = head_from_bytes(_read_head(self.request))
                method = head.method
                response = self._respond(head)
            except BadHeadError as error:
                response = text_response(error.status, str(error))
            self.request.sendall(_bytes_from_response(response, has_body=method != "HEAD"))
            if method == "POST":
                _pass_over_body(self.request)
        except OSError as error:
            _log.debug("a client left: %s", error)

    def _respond(self, head: RequestHead) -> Response:
        own_ip = str(self.request.getsockname()[0])
        refusal = self.server.guard.refusal(head.headers, own_ip=own_ip)
        return refusal or self.server.respond(head)


def _read_head(connection: socket.socket) -> bytes:
    """Read up to the empty line, which is all that is ever read.

    It comes at once, or in two pieces. Where it trickles in, it is looked at ever more seldom:
    however many bytes strangers send, they cost next to nothing.

    Raises:
        BadHeadError: too long.
        OSError: the client left.
    """
    data, (pause_s, longest_s) = bytearray(), _TRICKLE_S
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) >= MAX_HEAD_BYTES:
            raise BadHeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too long a head")
        if data:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
        piece = connection.recv(_READ_BYTES)
        if not piece:
            raise ConnectionResetError("it left before its request was whole")
        data += piece
    return bytes(data[: end + 2])


def _pass_over_body(connection: socket.socket) -> None:
    """Let the client send the rest: closed before, it may never see its answer."""
    connection.shutdown(socket.SHUT_WR)
    for _ in range(_PASSED_OVER):
        if not connection.recv(_READ_BYTES):
            return


def _bytes_from_response(response: Response, *, has_body: bool) -> bytes:
    status, content = response.status, response.content
    headers = [("Date", formatdate(usegmt=True)), *_ALWAYS, *response.headers]
    if status is not HTTPStatus.NOT_MODIFIED:
        headers.append(("Content-Type", response.content_type))
        headers.append(("Content-Length", str(len(content))))
    lines = (f"{name}: {value}\r\n" for name, value in headers)
    head = f"HTTP/1.0 {status.value} {status.phrase}\r\n{''.join(lines)}\r\n"
    return head.encode("latin-1") + (content if has_body else b"")
