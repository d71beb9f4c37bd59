"""What the monitor of a running line tells: the studio asks it, and hands on what it says."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any
from urllib.parse import quote

from cameras.push.address import host_and_port, token_from_file
from edge.options import LifeOptions

PATIENCE_S = 2.0
_MAX_BYTES = 16 * 2**20
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where one connects instead


class LineMonitor:
    """The monitor at an address of this machine; thread-safe, since it keeps nothing.

    Args:
        life: says where it is, and where its token lies.
    """

    def __init__(self, life: LifeOptions) -> None:
        self._life = life

    def report(self) -> dict[str, Any] | None:
        """What ``/healthz`` says; None while nobody answers."""
        found = self._read("/healthz")
        return None if found is None else _object_from(found)

    def rejects(self, camera: str) -> list[dict[str, Any]]:
        """The last rejects of a camera, the newest first."""
        found = self._read(f"/cameras/{quote(camera, safe='')}/rejects.json")
        content = None if found is None else _object_from(found)
        rejects = content.get("rejects") if content else None
        return [one for one in rejects if isinstance(one, dict)] if rejects else []

    def picture(self, camera: str, reject: str = "") -> bytes | None:
        """The drawn picture of a reject, or the newest one; JPEG."""
        name = f"rejects/{quote(reject, safe='')}.jpg" if reject else "live.jpg"
        found = self._read(f"/cameras/{quote(camera, safe='')}/{name}")
        return found if found is not None and found.startswith(b"\xff\xd8") else None

    def _read(self, path: str) -> bytes | None:
        """The body of an answer; None without one."""
        if self._life.monitor is None:
            return None
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            host, port = host_and_port(self._life.monitor)
            host = _EVERYWHERE.get(host, host)
            headers = {}
            if self._life.monitor_token is not None:
                token = token_from_file(self._life.monitor_token).decode()
                headers["Authorization"] = f"Bearer {token}"
            connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
            with contextlib.closing(connection):
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                return answer.read(_MAX_BYTES) if answer.status in (200, 503) else None
        return None


def free_address() -> str:
    """An address of this machine alone that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _object_from(content: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        found = json.loads(content)
        return found if isinstance(found, dict) else None
    return None
