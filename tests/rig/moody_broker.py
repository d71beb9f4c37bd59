"""A broker of MQTT with moods: it forgets, refuses, takes over, hangs up and talks nonsense."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

CONNECT, PUBLISH, SUBSCRIBE, PING = 1, 3, 8, 12
NOT_AUTHORIZED, TAKEN_OVER = 0x87, 0x8E


@dataclass(frozen=True)
class Mood:
    """How a broker behaves.

    Attributes:
        connack: its answer to CONNECT: a reason, or None for none.
        puback: a reason for what is published with QoS 1; None: nothing is acknowledged.
        suback: a reason for each subscription; None for none.
        hangs_up_after: packets that it takes before it closes the connection; None: it stays.
        says: bytes that it sends once after CONNACK.
        version5: whether it speaks MQTT 5, else 3.1.1.
    """

    connack: int | None = 0
    puback: int | None = 0
    suback: int | None = 0
    hangs_up_after: int | None = None
    says: bytes = b""
    version5: bool = True


def random_mood(seed: int) -> Mood:
    """One of many."""
    choose = random.Random(seed)
    junk = choose.randbytes(choose.randrange(1, 40))
    said = [b"", b"", junk, bytes([0xE0, 1, TAKEN_OVER]), bytes([0xE0, 0]), bytes([0x30, 200, 1])]
    said += [
        bytes([0x20, 0]),
        bytes([0x40, 1, 0]),
        b"\x90\xff\xff\xff\xff\xff",
        b"HTTP/1.1",
    ]
    return Mood(
        connack=choose.choice([0, 0, 0, 0x87, 5, None]),
        puback=choose.choice([0, 0, NOT_AUTHORIZED, None]),
        suback=choose.choice([0, 0x80, NOT_AUTHORIZED, None]),
        hangs_up_after=choose.choice([None, None, 1, 2, 5]),
        says=choose.choice(said),
        version5=choose.random() < 0.7,
    )


class MoodyBroker:
    """Serves each connection in a thread; `mood` may be changed at any time."""

    def __init__(self, mood: Mood) -> None:
        self.mood = mood
        self.connections = 0
        self.names: list[str] = []  # of its clients, as they came
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> MoodyBroker:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=[connection])
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        mood = self.mood
        with connection, connection.makefile("rb") as stream, suppress(OSError, IndexError):
            count = 0
            while head := stream.read(1):
                body = stream.read(_length(stream))
                connection.sendall(self._answer(mood, head[0], body))
                count += 1
                if head[0] >> 4 == CONNECT and mood.connack == 0:
                    connection.sendall(mood.says)
                if count == mood.hangs_up_after or head[0] >> 4 == 14:
                    return

    def _answer(self, mood: Mood, head: int, body: bytes) -> bytes:
        kind = head >> 4
        more = b"\0" if mood.version5 else b""  # no properties
        if kind == CONNECT:
            place = 11 if body[6] == 5 else 10
            size = int.from_bytes(body[place : place + 2], "big")
            self.names.append(body[place + 2 : place + 2 + size].decode())
            return b"" if mood.connack is None else _packet(2, bytes([0, mood.connack]) + more)
        if kind == PUBLISH and head & 6:
            if mood.puback is None:
                return b""
            topic = int.from_bytes(body[:2], "big")
            reason = bytes([mood.puback]) if mood.version5 else b""
            return _packet(4, body[2 + topic : 4 + topic] + reason)
        if kind == SUBSCRIBE and mood.suback is not None:
            return _packet(9, body[:2] + more + bytes([mood.suback]))
        return _packet(13, b"") if kind == PING else b""


def _packet(kind: int, body: bytes) -> bytes:
    return bytes([kind << 4, len(body)]) + body


def _length(stream) -> int:
    length = shift = 0
    while True:
        byte = stream.read(1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return length
