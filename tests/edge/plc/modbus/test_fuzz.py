"""Frames that nobody meant to send: each is answered as the protocol says, and writes nothing else.

What has to come back, and what may be written, is worked out here a second time, from the
specification alone and with no code of the bridge.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.section import ModbusSection
from edge.plc.station.snapshot import Control, Snapshot

SEED = 20260729
SHORT = 1000
FULL = 10_000  # `just soak`
CONTROL, RESULT, MIRROR = 8, 32, 1000


class Kept:
    """A port that keeps the levels that it is handed."""

    def __init__(self) -> None:
        self.told: list[tuple[int, ...]] = []

    def snapshot(self) -> Snapshot:
        return Snapshot(station="s", boot_id=9)

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        part = control.part_id
        self.told.append(
            (
                control.enable
                | control.trigger << 1
                | control.acknowledge << 3
                | control.execute << 4
                | control.offline << 7
                | control.clear_error << 8,
                control.heartbeat,
                control.trigger_id,
                part >> 16,
                part & 0xFFFF,
                control.command,
                control.argument,
            )
        )
        return self.snapshot()


@dataclass
class Model:
    """What the specification lets a stream of bytes do."""

    words: list[int] = field(default_factory=lambda: [0] * CONTROL)
    told: list[tuple[int, ...]] = field(default_factory=list)
    known: bool = False

    def answers(self, stream: bytes) -> list[tuple[int, int, int, bytes | int]]:
        """What comes back: transaction, unit, function, and body, or the length of an answer."""
        expected = []
        while len(stream) >= 7:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", stream)
            if protocol or not 2 <= length <= 254 or len(stream) < 6 + length:
                break
            pdu, stream = stream[7 : 6 + length], stream[6 + length :]
            expected.append((transaction, unit, *self.answer(pdu)))
        return expected

    def answer(self, pdu: bytes) -> tuple[int, bytes | int]:
        function, body = pdu[0], pdu[1:]
        code = self.refusal(function, body)
        if code:
            return function | 0x80, bytes((code,))
        address, second = struct.unpack_from(">HH", body)
        if function in {3, 4}:
            return function, 1 + 2 * second
        values = [second] if function == 6 else list(struct.unpack(f">{second}H", body[5:]))
        self.words[address : address + len(values)] = values
        self.known = self.known or address == 0
        if self.known:
            self.told.append((self.words[0] & 0b1_1001_1011, *self.words[1:7]))
        return function, body[:4]

    @staticmethod
    def refusal(function: int, body: bytes) -> int:
        if function not in {3, 4, 6, 16}:
            return 1
        if len(body) < (5 if function == 16 else 4):
            return 3
        address, count = struct.unpack_from(">HH", body)
        if function == 16:
            whole = len(body) == 5 + body[4] and body[4] == 2 * count
            if not (1 <= count <= 123 and whole):
                return 3
        elif len(body) != 4 or (function != 6 and not 1 <= count <= 125):
            return 3
        end = address + (1 if function == 6 else count)
        control = end <= CONTROL
        if function in {6, 16}:
            return 0 if control else 2
        if function == 4:
            return 0 if end <= RESULT else 2
        return 0 if control or (address >= MIRROR and end <= MIRROR + RESULT) else 2


def some_pdu(dice: random.Random) -> bytes:
    """A request, well-formed or nearly so, often at the edges of what is allowed."""
    address = dice.choice([0, 0, 2, 7, 8, 31, 32, 999, 1000, 1031, 65535, dice.randrange(65536)])
    count = dice.choice([0, 1, 1, 2, 5, 8, 9, 32, 33, 123, 124, 125, 126, dice.randrange(65536)])
    kind = dice.randrange(6)
    if kind == 0:
        return bytes((dice.randrange(256),)) + dice.randbytes(dice.randrange(20))
    if kind <= 2:
        return struct.pack(">BHH", dice.choice([3, 4]), address, count)
    if kind == 3:
        return struct.pack(">BHH", 6, address, dice.randrange(65536))
    few = dice.randrange(1, 10)
    promised = few if dice.random() < 0.6 else count
    byte_count = 2 * few if dice.random() < 0.7 else dice.randrange(256)
    return struct.pack(">BHHB", 16, address, promised, byte_count) + dice.randbytes(2 * few)


def some_frame(dice: random.Random) -> bytes:
    """A frame with something wrong about it, most of the time."""
    pdu = some_pdu(dice)
    length, protocol = len(pdu) + 1, 0
    damage = dice.randrange(8)
    if damage == 0:
        length = dice.choice([0, 1, 2, 3, 254, 255, 256, 65535, dice.randrange(65536)])
    elif damage == 1:
        protocol = dice.choice([1, 255, 256, 65535])
    elif damage == 2:
        pdu = pdu[: dice.randrange(len(pdu) + 1)]
    elif damage == 3:
        pdu += dice.randbytes(dice.randrange(1, 300))
    raw = bytearray(struct.pack(">HHHB", dice.randrange(65536), protocol, length, 255) + pdu)
    if damage == 4:
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    elif damage == 5:
        return dice.randbytes(dice.randrange(1, 400))
    return bytes(raw)


def exchange(bridge: ModbusBridge, pieces: list[bytes]) -> tuple[bytes, bool]:
    """Send pieces on a connection of their own; what comes back, and whether it was reset."""
    got, reset = bytearray(), False
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                peer.sendall(piece)
            peer.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:  # the server has ended it, as it has to after what is no frame
            reset = True
        try:
            while more := peer.recv(65536):
                got += more
        except ConnectionResetError:
            reset = True
    return bytes(got), reset


def cut(dice: random.Random, stream: bytes) -> list[bytes]:
    """Cut a stream in pieces as a network might."""
    places = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.randrange(3)))
    edges = [0, *places, len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges) if b > a]


def matches(got: bytes, expected: list[tuple[int, int, int, bytes | int]], *, reset: bool) -> bool:
    """Whether the answers are those expected; a connection that was reset may lack the last."""
    for transaction, unit, function, body in expected:
        if reset and not got:
            return True
        length = body if isinstance(body, int) else len(body)
        head = struct.pack(">HHHBB", transaction, 0, length + 2, unit, function)
        if got[:8] != head or len(got) < 8 + length:
            return False
        if isinstance(body, bytes) and got[8 : 8 + length] != body:
            return False
        got = got[8 + length :]
    return not got


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def bridge(kept: Kept) -> Iterator[ModbusBridge]:
    with ModbusBridge(kept, ModbusSection(port=0)) as bridge:
        yield bridge


@pytest.mark.parametrize(
    "count",
    [SHORT, pytest.param(FULL, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_malformed_frames(bridge: ModbusBridge, kept: Kept, count: int) -> None:
    dice, model, sent = random.Random(SEED), Model(), 0
    while sent < count:
        frames = [some_frame(dice) for _ in range(dice.choice([1, 1, 2, 5]))]
        sent += len(frames)
        stream = b"".join(frames)
        expected = model.answers(stream)
        got, reset = exchange(bridge, cut(dice, stream))
        assert matches(got, expected, reset=reset), (sent, stream.hex(), got.hex(), expected)
        assert kept.told == model.told, (sent, stream.hex())
    alive, _ = exchange(bridge, [struct.pack(">HHHBBHH", 5, 0, 6, 1, 4, 0, 32)])
    assert len(alive) == 9 + 64
    assert len(kept.told) > count // 50, "hardly a write got through: the test tests nothing"
