"""Clients that take a place for nothing: they send a byte now and then, or never read."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time

TRICKLE = b"GET /healthz HTTP/1.1\r\nX: "


class SlowClients:
    """So many connections, each opened again as soon as it is closed; one thread for all.

    Args:
        port: on this machine.
        count: of them.
        first: what each sends at once; then a byte at a time, unless `reads` is False.
        reads: whether it reads; one that does not is deaf to being closed, and opened again
            every second.
    """

    def __init__(
        self, port: int, count: int, *, first: bytes = TRICKLE, reads: bool = True
    ) -> None:
        self.opened = 0
        self._port = port
        self._count = count
        self._first = first
        self._reads = reads
        self._ended = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> SlowClients:
        for _ in range(self._count):
            self._open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)
        self._selector.close()

    def _open(self) -> None:
        end = socket.socket()
        if not self._reads:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.settimeout(10)
        with contextlib.suppress(OSError):
            end.connect(("127.0.0.1", self._port))
            end.sendall(self._first)
        end.setblocking(False)
        self._selector.register(end, selectors.EVENT_READ, time.monotonic())
        self.opened += 1

    def _close(self, end) -> None:
        self._selector.unregister(end)
        end.close()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            ready = [key.fileobj for key, _ in self._selector.select(0)] if self._reads else []
            now = time.monotonic()
            for key in list(self._selector.get_map().values()):
                if key.fileobj in ready or (not self._reads and now - key.data > 1):
                    self._close(key.fileobj)
                    self._open()
                elif self._reads:
                    with contextlib.suppress(OSError):
                        key.fileobj.send(b"x")
