"""Pictures over a bare TCP connection: ``tcp://127.0.0.1:5555``.

A message is its length in bytes, four of them, the highest first, and then one image file (JPEG,
PNG …). A connection carries any number. With a token the first message is the token. There are no
answers: a connection that breaks the rules is closed, and a picture that cannot be taken becomes
ERROR. `cameras.push.http` answers each picture.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
import time

from cameras.errors import ImageError
from cameras.options import Options
from cameras.push.address import (
    CONNECTIONS,
    PATIENCE_S,
    Binding,
    binding_from_address,
    cannot_listen,
)
from cameras.push.queue import Arrival, Inbox, InboxFullError, Rules

LOG = logging.getLogger("cameras")
_LENGTH = struct.Struct(">I")
_PIECE = 1 << 20
_POLL_S = 0.2


class _RulesBrokenError(Exception):
    """The connection is closed; the message says why."""


def open_tcp(address: str, *, options: Options, stall_after: float) -> Inbox:
    """Listen for pictures.

    Args:
        address: ``tcp://HOST:PORT``; without HOST, 127.0.0.1.
        options: ``token`` or ``token_file``, ``newest``, ``queue``, ``max_mib``.
        stall_after: with ``newest``: seconds of silence that are told.

    Raises:
        SourceError: a wrong address or option.
        CameraError: the address cannot be had.
    """
    binding = binding_from_address(address, options)
    rules = Rules.asked(options, stall_after=stall_after)
    options.done()
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    try:
        listening = socket.create_server((binding.host, binding.port), family=family, backlog=16)
    except OSError as error:
        raise cannot_listen(options.name, error) from error
    bound = Binding(binding.host, listening.getsockname()[1], binding.token)
    inbox = Inbox(f"tcp://{bound.address}", rules)
    return inbox.served_by(_Server(listening, bound, inbox).close)


class _Server:
    """One thread that accepts, and one for each connection."""

    def __init__(self, listening: socket.socket, binding: Binding, inbox: Inbox) -> None:
        self._listening = listening
        self._binding = binding
        self._inbox = inbox
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        listening.settimeout(_POLL_S)
        self._thread = threading.Thread(target=self._accept, name="edge-tcp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection and end the threads."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._thread.join()
        self._listening.close()
        with self._lock:
            left = dict(self._open)
        for thread, connection in left.items():
            with contextlib.suppress(OSError):  # it may have left by itself
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError as error:  # such as too many open files: it may pass
                if self._stop.is_set():
                    return
                LOG.warning("%s: no connection accepted: %s", self._inbox.name, error.strerror)
                self._stop.wait(_POLL_S)
                continue
            with self._lock:
                if len(self._open) >= CONNECTIONS:
                    LOG.warning("%s: %d hosts are connected", self._inbox.name, CONNECTIONS)
                    connection.close()
                    continue
                thread = threading.Thread(
                    target=self._serve, args=(connection,), name="edge-tcp-host", daemon=True
                )
                self._open[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_POLL_S)
                self._receive(connection)
        except _RulesBrokenError as error:
            LOG.warning("%s: a connection is closed: %s", self._inbox.name, error)
        except OSError as error:
            LOG.info("%s: a connection ended: %s", self._inbox.name, error.strerror or error)
        finally:
            with self._lock:
                del self._open[threading.current_thread()]

    def _receive(self, connection: socket.socket) -> None:
        """Take in messages until the host leaves, or breaks the rules."""
        trusted = not self._binding.token
        while (head := self._message(connection, trusted=trusted)) is not None:
            arrival, data = head
            if not trusted:
                if not self._binding.admits(data):
                    raise _RulesBrokenError("wrong token")
                trusted = True
                continue
            try:
                self._inbox.accept(data, arrival)
            except (ImageError, InboxFullError) as error:
                LOG.warning("%s: a picture was not taken: %s", self._inbox.name, error)

    def _message(self, connection: socket.socket, *, trusted: bool) -> tuple[Arrival, bytes] | None:
        """Return the next message and when it began to come; None when the host left."""
        first = self._exactly(connection, 1, patience_s=None if trusted else PATIENCE_S)
        if first is None:
            return None
        arrival = Arrival.now()
        rest = self._exactly(connection, _LENGTH.size - 1, patience_s=PATIENCE_S)
        if rest is None:
            raise _RulesBrokenError("it ended within a length")
        (length,) = _LENGTH.unpack(first + rest)
        most = self._inbox.rules.max_bytes if trusted else 1024
        if not 0 < length <= most:
            raise _RulesBrokenError(f"a message of {length} bytes; at most {most} are taken")
        try:
            data = self._exactly(connection, length, patience_s=PATIENCE_S)
            if data is None:
                raise _RulesBrokenError("it ended within a message")
        except (OSError, _RulesBrokenError):
            if trusted:  # a part has been seen, and its picture is lost
                self._inbox.refuse("a picture came in part only; check the host and the network")
            raise
        return arrival, data

    def _exactly(
        self, connection: socket.socket, count: int, *, patience_s: float | None
    ) -> bytes | None:
        """Return so many bytes; None when the connection ended, or this source.

        Raises:
            _RulesBrokenError: they did not come in time.
        """
        began = time.monotonic()
        data = bytearray()
        while len(data) < count:
            if self._stop.is_set():
                return None
            if patience_s is not None and time.monotonic() - began > patience_s:
                raise _RulesBrokenError(f"incomplete after {patience_s:g} s")
            try:
                piece = connection.recv(min(_PIECE, count - len(data)))
            except TimeoutError:
                continue
            if not piece:
                return None
            data += piece
        return bytes(data)
