"""The head of an HTTP request, read strictly: what another program could read otherwise is none.

The standard library stops at the first line that is no header, never sees what follows, and takes
``Transfer-Encoding :`` for a header of another name.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.client import parse_headers

MAX_HEAD_BYTES = 16 << 10
MAX_HEADERS = 64
_REQUEST = re.compile(rb"([A-Z]{1,16}) ([!-~]+) HTTP/(1\.[01])")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*")


class BadHeadError(ValueError):
    """It is no request.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: HTTPStatus, line: str) -> None:
        super().__init__(line)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body.

    Attributes:
        method: such as ``GET``.
        path: as it was sent, percent signs and all.
        version: ``1.0`` or ``1.1``.
        headers: of the request.
    """

    method: str
    path: str
    version: str
    headers: Message


def head_from_bytes(data: bytes) -> RequestHead:
    """Read a head: lines that end with CR and LF, without the empty one.

    Raises:
        BadHeadError: whatever is not strictly HTTP.
    """
    first, *lines = data.split(b"\r\n")[:-1]
    request = _REQUEST.fullmatch(first)
    if request is None:
        raise BadHeadError(HTTPStatus.BAD_REQUEST, "write such as GET / HTTP/1.1")
    if len(lines) > MAX_HEADERS:
        raise BadHeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
    if not all(_HEADER.fullmatch(line) for line in lines):
        raise BadHeadError(HTTPStatus.BAD_REQUEST, "not a header")
    headers = parse_headers(io.BytesIO(data[len(first) + 2 :] + b"\r\n"))
    return RequestHead(request[1].decode(), request[2].decode(), request[3].decode(), headers)
