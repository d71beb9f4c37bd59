"""The connection to a broker, touched by one thread alone.

paho lets any thread write to the socket that another one reads. Both directions of TLS are one
object of OpenSSL's, which is for one thread at a time: two of them crash the process. So whoever
takes the turns publishes, too, and other threads only wake it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client

RETRY_S = (0.5, 10.0)  # first and longest wait between attempts
NO_MQTT_S = 1.0  # before the next attempt after bytes that are none


class BrokerConnection:
    """Keeps a client connected, turn by turn; all but `wake` belongs to the thread of the turns.

    Args:
        client: knows its broker, and is not connected.
        on_unreachable: told why an attempt to connect failed.
        on_nonsense: told what the library stumbled over in the broker's bytes; the connection is
            closed then, and the client calls nothing of its own for it.
    """

    def __init__(
        self,
        client: Client,
        *,
        on_unreachable: Callable[[OSError], object],
        on_nonsense: Callable[[Exception], object],
    ) -> None:
        self._client = client
        self._on_unreachable = on_unreachable
        self._on_nonsense = on_nonsense
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._retry_s = RETRY_S[0]
        self._due_s: float | None = 0.0  # monotonic, of the next attempt
        self._is_spoilt = False

    def wake(self) -> None:
        """End a turn's waiting, or the next one's; any thread may call it, at any time."""
        with contextlib.suppress(OSError):  # it was woken so often already, or it is over
            self._bell.send(b"\0")

    def turn(self, timeout_s: float) -> None:
        """Wait until there is something to do, and do it: connect, read, write, keep alive."""
        connection: Any = self._socket()  # paho's type for it has no number that can be waited for
        try:
            if connection is None:
                self._connect_when_due(timeout_s)
            else:
                self._exchange(connection, timeout_s)
        except Exception as error:  # noqa: BLE001  # the border: a stranger's bytes in a library
            self._spoil(error)

    def note_accepted(self) -> None:
        """The broker took us: after the next loss the first attempt comes soon again."""
        self._retry_s = RETRY_S[0]

    def hold_off(self, pause_s: float) -> None:
        """Let the next attempt come only after so many seconds."""
        self._due_s = time.monotonic() + pause_s

    def close(self, within_s: float) -> None:
        """Take leave in an orderly way, if the broker listens in time; close it anyway."""
        limit = time.monotonic() + within_s
        if self._socket() is not None:
            self._client.disconnect()
        while self._socket() is not None and (left_s := limit - time.monotonic()) > 0:
            self.turn(left_s)
        connection = self._client.socket()
        if connection is not None:
            connection.close()
        self._ear.close()
        self._bell.close()

    def _socket(self) -> object | None:
        return None if self._is_spoilt else self._client.socket()

    def _connect_when_due(self, timeout_s: float) -> None:
        now = time.monotonic()
        if self._due_s is None:
            self._due_s = now + self._retry_s
            self._retry_s = min(2 * self._retry_s, RETRY_S[1])
        if now < self._due_s:
            self._wait(min(timeout_s, self._due_s - now))
            return
        self._due_s, self._is_spoilt = None, False
        try:
            self._client.reconnect()
        except OSError as error:
            self._on_unreachable(error)

    def _exchange(self, connection: Any, timeout_s: float) -> None:
        client = self._client
        # What TLS has decrypted already is not seen by whoever waits for the socket.
        has_more = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        writing = select.POLLOUT if client.want_write() else 0
        events = self._wait(0.0 if has_more else timeout_s, connection, select.POLLIN | writing)
        if has_more or events & ~select.POLLOUT:
            client.loop_read()
        if events & select.POLLOUT and client.socket() is connection:
            client.loop_write()
        client.loop_misc()

    def _wait(self, timeout_s: float, connection: Any = None, wanted: int = 0) -> int:
        """Wait for a wake or for a socket; return what the socket is ready for."""
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        if connection is not None:
            poll.register(connection, wanted)
        ready = dict(poll.poll(timeout_s * 1e3))
        if self._ear.fileno() in ready:
            self._ear.recv(4096)
        return 0 if connection is None else ready.get(connection.fileno(), 0)

    def _spoil(self, error: Exception) -> None:
        """Close the connection; paho, asked to go on, would read the same bytes for ever."""
        self._is_spoilt = True
        connection = self._client.socket()
        if connection is not None:
            connection.close()
        self.hold_off(NO_MQTT_S)
        self._on_nonsense(error)
