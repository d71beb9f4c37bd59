"""The page, ``/healthz`` and ``/metrics``: read-only, and for those alone who may read."""

from __future__ import annotations

import io
import logging
import re
import time
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from cameras.closing import Closing
from cameras.push.limits import Limits, Listening
from edge.service.http_access import Access, Admission, MonitorError, binding_of
from edge.service.http_routes import Answer, Exposition, Pages, Pictures, Report

TIMEOUT_S = 5.0
PLACES = 64
"""Connections at once: more than are ever asked for, so that fifty slow ones shut nobody out."""
_LIMITS = Limits(places=PLACES, seconds=TIMEOUT_S, newcomers=True, rate_hz=100.0, burst=32)
_HEAD_BYTES = 16 << 10
_HEAD_LINES = 64
_REQUEST = re.compile(rb"[A-Z]{1,16} [!-~]+ HTTP/1\.[01]")
_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*")
_PIECE = 4096
_TRICKLE_S = 0.01
_TRICKLE_MOST_S = 0.5
_ALWAYS = (
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
)
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="edge", charset="UTF-8"')
_log = logging.getLogger("edge.service.http_server")

__all__ = ["Access", "Exposition", "Monitor", "MonitorError", "Report"]


class Monitor(Closing):
    """An HTTP server; released by `close` or at the end of `with`.

    It answers GET and HEAD, one request a connection, within five seconds for reading and writing
    together. When all places are taken, a newcomer gets that of the oldest.

    Args:
        address: ``127.0.0.1:9464``, ``[::1]:9464``; port 0 takes a free one.
        report: what is known, with ``ready``.
        expose: makes the text of ``/metrics`` and its type from a report; None where the library
            is not installed.
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
        report: Report,
        *,
        expose: Exposition | None,
        pictures: Pictures | None = None,
        access: Access | None = None,
    ) -> None:
        access = access or Access()
        binding = binding_of(address, access)
        pages = Pages(report, expose=expose, pictures=pictures)
        try:
            self._server = _Server(binding, _Handler, limits=_LIMITS, name="edge-monitor")
        except OSError as error:
            raise MonitorError(f"monitor {address}: {error.strerror}; give another") from error
        bound = self._server.bound
        self._server.pages = pages
        self._server.admission = Admission(bound, access.hosts)
        self.host = f"[{bound.host}]" if ":" in bound.host else bound.host
        self.port = bound.port
        self._server.start()

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        self._server.end()


class _Server(Listening):
    pages: Pages
    admission: Admission


class _BadHeadError(Exception):
    def __init__(self, status: HTTPStatus, line: str) -> None:
        super().__init__(line)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """One request, then the connection is closed."""

    server: _Server
    timeout = TIMEOUT_S
    server_version = "edge"
    sys_version = ""

    def handle(self) -> None:
        """Read a head, answer it; no body is read."""
        self.request_version, self.requestline, self.command = "HTTP/1.0", "", ""
        try:
            if self._parsed():
                self._write(self._answer())
        except _BadHeadError as error:
            self._write(Answer.line(error.status, str(error)))
        except OSError as error:
            _log.debug("a client left: %s", error)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses is answered as everything is."""
        self.request_version = "HTTP/1.0"
        status = HTTPStatus(code)
        self._write(Answer.line(status, status.phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Nothing: what strangers send does not fill the log."""

    def _parsed(self) -> bool:
        head = self._head()
        line, _, rest = head.partition(b"\r\n")
        if not _REQUEST.fullmatch(line):
            raise _BadHeadError(HTTPStatus.BAD_REQUEST, "write GET /healthz HTTP/1.1")
        lines = rest.split(b"\r\n")[:-2]
        if len(lines) > _HEAD_LINES:
            raise _BadHeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
        # The library stops at the first line that is no header, and whatever follows is not seen.
        if not all(_LINE.fullmatch(one) for one in lines):
            raise _BadHeadError(HTTPStatus.BAD_REQUEST, "not a header")
        self.rfile.close()
        self.raw_requestline, self.rfile = line + b"\r\n", io.BytesIO(rest)
        return self.parse_request()

    def _head(self) -> bytes:
        """Bytes up to the empty line, which is all that is ever read.

        They come at once, or in two pieces. Where they trickle, they are looked at ever more
        seldom: however many bytes strangers send, they cost next to nothing.
        """
        data, pause_s = bytearray(), _TRICKLE_S
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) >= _HEAD_BYTES:
                raise _BadHeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too long a head")
            if data:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _TRICKLE_MOST_S)
            piece = self.connection.recv(_PIECE)
            if not piece:
                raise ConnectionResetError("it left before its request was whole")
            data += piece
        return bytes(data[: end + 4])

    def _answer(self) -> Answer:
        own_ip = str(self.connection.getsockname()[0])
        refusal = self.server.admission.refusal(self.headers, own_ip=own_ip)
        if refusal is not None:
            answer = Answer.line(refusal.status, refusal.line)
            if refusal.status is HTTPStatus.UNAUTHORIZED:
                return replace(answer, headers=(_CHALLENGE,))
            return answer
        if self.command not in ("GET", "HEAD"):
            line = b"it is read-only\n"
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, line, headers=(("Allow", "GET, HEAD"),))
        known = self.headers.get("If-None-Match", "").strip().strip('"')
        return self.server.pages.answer(self.path, known=known)

    def _write(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.content)))
        for name, value in (*_ALWAYS, *answer.headers):
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)
