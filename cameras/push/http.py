"""Pictures as HTTP requests: ``post://127.0.0.1:8090`` takes ``POST /`` with an image file.

The answer tells the host what became of it: 202 and the number of its frame, 422 for a picture
that cannot be decoded, 503 when too many wait. A page in a browser cannot deliver: whatever comes
with an Origin, or for another Host, is refused.
"""

from __future__ import annotations

import http.server
import ipaddress
import json
import logging
import time
from http import HTTPStatus
from typing import Any

from cameras.errors import ImageError
from cameras.options import OpenOptions
from cameras.push.address import (
    MAX_CONNECTIONS,
    PATIENCE_S,
    Binding,
    binding_from_address,
    error_from_bind,
)
from cameras.push.http_head import MAX_HEAD_BYTES, BadHeadError, head_from_bytes
from cameras.push.limits import LimitedServer, Limits, Standing, host_names
from cameras.push.queue import Arrival, Inbox, InboxFullError, Rules, rules_from_options
from cameras.redaction import one_line
from process.threads import FAILURES

LOG = logging.getLogger("cameras")
_TYPES = ("image/", "application/octet-stream")
_IDLE_S = 60.0  # a connection without a whole request, however slowly one trickles in
_PIECE = 1 << 20


def open_post(address: str, options: OpenOptions) -> Inbox:
    """Listen for pictures.

    Args:
        address: ``post://HOST:PORT``; without HOST, 127.0.0.1.
        options: ``token`` or ``token_file`` (``Authorization: Bearer …``), ``newest``, ``queue``,
            ``max_mib``.

    Raises:
        SourceError: a wrong address or option.
        CameraError: the address cannot be had.
    """
    binding = binding_from_address(address, options)
    rules = rules_from_options(options)
    options.refuse_unknown()
    try:
        server = _Server(binding, rules)
    except OSError as error:
        raise error_from_bind(options.name, error) from error
    server.start()
    return server.inbox.served_by(server)


class _Server(LimitedServer):
    """Its connections stay open: a host that delivered is not pushed out by a later one."""

    def __init__(self, binding: Binding, rules: Rules) -> None:
        limits = Limits(places=MAX_CONNECTIONS, seconds=_IDLE_S)
        super().__init__(binding, _PushHandler, limits=limits, name="edge-post")
        self.inbox = Inbox(f"post://{self.bound.address}", rules)


class _Refused(Exception):  # noqa: N818 - a refusal is the host's error, not ours
    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _PushHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "edge"
    sys_version = ""
    timeout = _IDLE_S
    raw_requestline: bytes
    server: _Server

    def parse_request(self) -> bool:
        """Read the head, strictly; what is none is answered, and the connection ends."""
        self.close_connection = True
        self.command, self.request_version = "", self.protocol_version
        self.requestline = "a request"  # for the log, which a stranger's words are kept out of
        try:
            head = head_from_bytes(self._read_head())
        except BadHeadError as error:
            self.send_error(error.status, str(error))
            return False
        self.requestline = self.raw_requestline.decode("latin-1").rstrip("\r\n")
        self.command, self.path, self.headers = head.method, head.path, head.headers
        self.request_version = f"HTTP/{head.version}"
        wish = self.headers.get("Connection", "").lower()
        self.close_connection = wish == "close" or (head.version == "1.0" and wish != "keep-alive")
        if head.version == "1.1" and self.headers.get("Expect", "").lower() == "100-continue":
            return self.handle_expect_100()
        return True

    def _read_head(self) -> bytes:
        """The lines of a head, up to the empty one, which is left out.

        Raises:
            BadHeadError: too long, or it ended before.
        """
        data = bytearray(self.raw_requestline)
        while True:
            line = self.rfile.readline(MAX_HEAD_BYTES + 1)
            if line == b"\r\n":
                return bytes(data)
            data += line
            if len(data) > MAX_HEAD_BYTES:
                status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                raise BadHeadError(status, "too long a head")
            if not line.endswith(b"\r\n"):
                raise BadHeadError(HTTPStatus.BAD_REQUEST, "lines end with CR and LF")

    def do_POST(self) -> None:
        """Take in one picture."""
        arrival = Arrival.now()
        try:
            length = self._check_request()
            self.server.mark(self.connection, Standing.ADMITTED)
            number = self._take_in(length, arrival)
        except _Refused as error:
            self.close_connection = True  # its body may not have been read
            self._answer(error.status, {"error": str(error)})
        else:
            self.server.mark(self.connection, Standing.USEFUL)
            self._answer(HTTPStatus.ACCEPTED, {"frame": number})

    def _check_request(self) -> int:
        """Return the length of the body of a request that may deliver.

        Raises:
            _Refused: it may not.
        """
        binding = self.server.bound
        if not _is_our_host(self.headers.get_all("Host", []), binding):
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, "another Host was asked for")
        if self.headers.get("Origin") is not None:
            raise _Refused(HTTPStatus.FORBIDDEN, "pages in a browser cannot deliver pictures")
        if binding.token:
            shown = self.headers.get("Authorization", "").encode("latin-1", "replace")
            if not binding.accepts_token(shown.removeprefix(b"Bearer ")):
                raise _Refused(HTTPStatus.UNAUTHORIZED, "send Authorization: Bearer TOKEN")
        if self.path != "/":
            raise _Refused(HTTPStatus.NOT_FOUND, "pictures are posted to /")
        if not self.headers.get("Content-Type", "").lower().startswith(_TYPES):
            raise _Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: image/jpeg, or another image"
            )
        return self._read_length()

    def _read_length(self) -> int:
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") is not None or len(lengths) != 1:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "send one Content-Length, no chunks")
        text = lengths[0].strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text)):
            raise _Refused(HTTPStatus.BAD_REQUEST, "Content-Length is no number of bytes")
        most = self.server.inbox.rules.max_bytes
        if int(text) > most:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {most} bytes are taken")
        return int(text)

    def _take_in(self, length: int, arrival: Arrival) -> int:
        """Read a picture and queue it; the number of its frame.

        Raises:
            _Refused: it cannot be taken; whatever the reason, a picture that came has its frame.
        """
        try:
            return self._accept(self._read_body(length), arrival)
        except _Refused:
            raise
        except MemoryError as error:
            reason = "out of memory; send smaller pictures, or give this machine more memory"
            self.server.inbox.refuse(reason)
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, reason) from error
        except Exception as error:
            FAILURES.note(self.server.inbox.name, error, goes_on=True)
            reason = f"{type(error).__name__}: {error}"
            self.server.inbox.refuse(reason)
            raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, reason) from error

    def _read_body(self, length: int) -> bytes:
        """Read the body; a picture of which only part comes becomes ERROR."""
        lost = "only part of a picture arrived; check the host and the network"
        deadline = time.monotonic() + PATIENCE_S
        data = bytearray()
        try:
            while len(data) < length:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self.connection.settimeout(left)
                piece = self.rfile.read1(min(_PIECE, length - len(data)))
                if not piece:
                    raise ConnectionResetError
                data += piece
        except OSError as error:
            self.server.inbox.refuse(lost)
            raise _Refused(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from error
        finally:
            self.connection.settimeout(_IDLE_S)
        return bytes(data)

    def _accept(self, data: bytes, arrival: Arrival) -> int:
        try:
            return self.server.inbox.accept(data, arrival)
        except ImageError as error:
            raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        except InboxFullError as error:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log with the others, one line, nothing of a header that could be a secret."""
        LOG.debug("%s: %s", self.server.inbox.name, one_line(format % args))


def _is_our_host(hosts: list[str], binding: Binding) -> bool:
    """Tell whether a request's Host is this server; one that others reach asks for a token."""
    if ipaddress.ip_address(binding.host).is_unspecified:
        return len(hosts) == 1
    return len(hosts) == 1 and hosts[0].lower() in host_names(binding.host, binding.port)
