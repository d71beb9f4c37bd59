"""What a service tells systemd by sd_notify's protocol: it is ready, alive, reloading, stopping.

Outside systemd every call does nothing.
"""

from __future__ import annotations

import os
import socket
import time

_MAX_BYTES = 4096


class SystemdNotifier:
    """Sends to the socket in ``NOTIFY_SOCKET``; never waits and never raises.

    Attributes:
        watchdog_s: within this time systemd wants to hear that the service lives; None if not.
    """

    def __init__(self) -> None:
        self._address = _address(os.environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s() if self._address else None

    def ready(self) -> None:
        """The service does what it is there for."""
        self._send("READY=1")

    def alive(self) -> None:
        """The loop turns: systemd restarts the service if this does not come in time."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Starting takes longer, and goes on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, line: str) -> None:
        """What `systemctl status` shows."""
        self._send(f"STATUS={' '.join(line.split())}")

    def reloading(self) -> None:
        """A reload begins; it ends with `ready`."""
        self._send(
            f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )

    def stopping(self) -> None:
        """The service has been told to stop, and does."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        data = message.encode("utf-8", "backslashreplace")[:_MAX_BYTES]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.setblocking(False)
                end.sendto(data, self._address)
        except OSError:
            # systemd is gone, or its queue is full: the next message comes soon.
            return


def _address(name: str) -> str | None:
    """A socket's address: a path, or ``@NAME`` for an abstract one."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else None


def _watchdog_s() -> float | None:
    text, owner = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0 or (owner and owner != str(os.getpid())):
        return None
    return int(text) / 1e6
