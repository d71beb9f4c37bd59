"""Requests as bytes, so that what no client would send can be sent."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Said:
    """An answer.

    Attributes:
        status: 0 when the connection was closed without one.
        head: its lines, lower case names to values.
        body: what follows.
    """

    status: int
    head: dict[str, str]
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def talk(port: int, data: bytes) -> bytes:
    """Send bytes and return what comes back until the connection ends."""
    parts = []
    with connected(port) as end, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        end.sendall(data)
        while part := end.recv(65536):
            parts.append(part)
    return b"".join(parts)


def answer_of(data: bytes) -> Said:
    if not data:
        return Said(0, {}, b"")
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return Said(int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}, body)


def asked(
    port: int, path: str, *headers: str, method: str = "GET", host: str | None = None
) -> Said:
    """Ask for a path as this machine calls itself; `{port}` in a header is the port."""
    own = () if host == "" else (f"Host: {host or '127.0.0.1:{port}'}",)
    lines = "".join(f"{line}\r\n" for line in (*own, *headers)).replace("{port}", str(port))
    return answer_of(talk(port, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")))
