"""The server on the wire: what it answers, what it refuses, and what nothing can make it do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from edge.plc.modbus import server
from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.register_map import words_from_snapshot
from edge.plc.modbus.section import ModbusSection
from edge.plc.modbus.visits import VisitLog
from edge.plc.station.snapshot import Control, Snapshot, StationError


class Shown:
    """A port that shows what it is given and keeps what it is told."""

    def __init__(self) -> None:
        self.shown = Snapshot(station="s", boot_id=9, heartbeat=77, recipe_id=3)
        self.told: list[Control] = []

    def snapshot(self) -> Snapshot:
        return self.shown

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        assert source == "modbus"
        self.told.append(control)
        return self.shown


@contextmanager
def opened(station: Any, /, **section: Any) -> Iterator[ModbusBridge]:
    with ModbusBridge(station, ModbusSection(**{"port": 0, **section})) as bridge:
        yield bridge


@pytest.fixture
def port() -> Shown:
    return Shown()


@pytest.fixture
def bridge(port: Shown) -> Iterator[ModbusBridge]:
    with opened(port) as bridge:
        yield bridge


def dial(bridge: ModbusBridge, *, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", bridge.port), timeout=5, source_address=(source, 0)
    )


def frame(pdu: bytes, *, transaction: int = 1, unit: int = 255) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def take(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            break
        got += more
    return got


def ask(connection: socket.socket, pdu: bytes, *, transaction: int = 1, unit: int = 255) -> bytes:
    connection.sendall(frame(pdu, transaction=transaction, unit=unit))
    return answer(connection, transaction=transaction, unit=unit)


def answer(connection: socket.socket, *, transaction: int = 1, unit: int = 255) -> bytes:
    head = take(connection, 7)
    assert len(head) == 7, "the connection was closed"
    told, protocol, length, from_unit = struct.unpack(">HHHB", head)
    assert (told, protocol, from_unit) == (transaction, 0, unit)
    return take(connection, length - 1)


def read(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address, count)


def write(address: int, *values: int) -> bytes:
    head = struct.pack(">BHHB", 16, address, len(values), 2 * len(values))
    return head + struct.pack(f">{len(values)}H", *values)


def words_of(pdu: bytes) -> tuple[int, ...]:
    assert len(pdu) == 2 + pdu[1]
    return struct.unpack(f">{pdu[1] // 2}H", pdu[2:])


def test_the_result_block_and_its_mirror(bridge: ModbusBridge, port: Shown) -> None:
    expected = words_from_snapshot(port.shown)
    with dial(bridge) as plc:
        assert words_of(ask(plc, read(4, 0, 32))) == expected
        assert words_of(ask(plc, read(3, 1000, 32))) == expected
        assert words_of(ask(plc, read(4, 1, 2))) == expected[1:3]
        assert words_of(ask(plc, read(3, 1031, 1))) == expected[31:]


@pytest.mark.parametrize("unit", [0, 1, 247, 255])
def test_any_unit_is_answered(bridge: ModbusBridge, unit: int) -> None:
    with dial(bridge) as plc:
        assert words_of(ask(plc, read(4, 1, 1), unit=unit)) == (77,)


def test_levels_are_handed_on_whole_and_read_back(bridge: ModbusBridge, port: Shown) -> None:
    with dial(bridge) as plc:
        assert ask(plc, write(0, 3, 5, 0x1234, 0xDEAD, 0xBEEF)) == struct.pack(">BHH", 16, 0, 5)
        assert ask(plc, struct.pack(">BHH", 6, 0, 1)) == struct.pack(">BHH", 6, 0, 1)
        assert words_of(ask(plc, read(3, 0, 8))) == (1, 5, 0x1234, 0xDEAD, 0xBEEF, 0, 0, 0)
    first = Control(enable=True, trigger=True, heartbeat=5, trigger_id=0x1234, part_id=0xDEADBEEF)
    assert port.told == [first, replace(first, trigger=False)]


def test_nothing_is_told_before_the_levels_are_known(bridge: ModbusBridge, port: Shown) -> None:
    with dial(bridge) as plc:
        ask(plc, write(2, 7))
        assert port.told == []
        ask(plc, write(0, 2))
        ask(plc, write(2, 8))
    assert [control.trigger_id for control in port.told] == [7, 8]
    assert all(control.trigger for control in port.told)


REFUSED = {
    "coils": (struct.pack(">BHH", 1, 0, 1), 1),
    "diagnostics": (struct.pack(">BHH", 8, 4, 0), 1),
    "mask write": (struct.pack(">BHHH", 22, 0, 0, 0xFFFF), 1),
    "read and write": (struct.pack(">BHHHHBH", 23, 0, 1, 0, 1, 2, 3), 1),
    "device identification": (bytes((43, 14, 1, 0)), 1),
    "function 0": (b"\x00", 1),
    "a refusal as a request": (b"\x83\x02", 1),
    "read nothing": (read(3, 0, 0), 3),
    "read 126": (read(4, 0, 126), 3),
    "read beyond the result": (read(4, 0, 33), 2),
    "read input 32": (read(4, 32, 1), 2),
    "read the last input": (read(4, 65535, 125), 2),
    "read beyond the control": (read(3, 0, 9), 2),
    "read between the blocks": (read(3, 8, 1), 2),
    "read before the mirror": (read(3, 999, 2), 2),
    "read beyond the mirror": (read(3, 1000, 33), 2),
    "read too short": (b"\x03\x00\x00\x00", 3),
    "read too long": (read(3, 0, 1) + b"\x00", 3),
    "write one too short": (b"\x06\x00\x00\x00", 3),
    "write one too long": (struct.pack(">BHH", 6, 0, 2) + b"\x00", 3),
    "write one result": (struct.pack(">BHH", 6, 1000, 1), 2),
    "write one between": (struct.pack(">BHH", 6, 8, 1), 2),
    "write nothing": (struct.pack(">BHHB", 16, 0, 0, 0), 3),
    "write 124": (struct.pack(">BHHB", 16, 0, 124, 248) + bytes(246), 3),
    "write beyond the control": (write(6, 1, 2, 3), 2),
    "write a result": (write(1008, 1), 2),
    "write far away": (write(65535, 1), 2),
    "write without head": (b"\x10\x00", 3),
    "write with a wrong byte count": (struct.pack(">BHHBH", 16, 0, 1, 4, 2), 3),
    "write with words missing": (struct.pack(">BHHBH", 16, 0, 2, 4, 2), 3),
    "write with words left over": (struct.pack(">BHHBHH", 16, 0, 1, 2, 2, 2), 3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_change_nothing(bridge: ModbusBridge, port: Shown, name: str) -> None:
    pdu, code = REFUSED[name]
    with dial(bridge) as plc:
        assert ask(plc, pdu) == bytes((pdu[0] | 0x80, code))
        assert words_of(ask(plc, read(3, 0, 8))) == (0,) * 8
    assert port.told == []


def test_requests_that_arrive_together_are_all_answered_in_order(bridge: ModbusBridge) -> None:
    with dial(bridge) as plc:
        plc.sendall(b"".join(frame(read(4, 1, 1), transaction=number) for number in range(200)))
        for number in range(200):
            assert words_of(answer(plc, transaction=number)) == (77,)


def test_a_request_may_come_in_pieces(bridge: ModbusBridge) -> None:
    with dial(bridge) as plc:
        plc.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(read(4, 1, 1)) + frame(read(4, 2, 1), transaction=2)[:5]:
            plc.sendall(bytes((byte,)))
            time.sleep(0.001)
        assert words_of(answer(plc)) == (77,)
        plc.sendall(frame(read(4, 2, 1), transaction=2)[5:])
        assert words_of(answer(plc, transaction=2)) == (1,)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(struct.pack(">HHHB", 1, 1, 6, 1), id="protocol"),
        pytest.param(struct.pack(">HHHB", 1, 0, 0, 1), id="length 0"),
        pytest.param(struct.pack(">HHHB", 1, 0, 1, 1), id="length 1"),
        pytest.param(struct.pack(">HHHB", 1, 0, 255, 1), id="length 255"),
        pytest.param(struct.pack(">HHHB", 1, 0, 65535, 1), id="length 65535"),
    ],
)
def test_what_is_no_frame_ends_its_connection_and_no_other(
    bridge: ModbusBridge, head: bytes
) -> None:
    with dial(bridge) as other, dial(bridge) as plc:
        plc.sendall(frame(read(4, 1, 1)) + head + read(4, 0, 1))
        assert closed(plc)
        assert words_of(ask(other, read(4, 1, 1))) == (77,)
    assert bridge.traffic.malformed == 1


def closed(connection: socket.socket) -> bool:
    """Whether the server closes, whatever it sends before that."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


def test_a_frame_that_never_ends_is_not_waited_for(
    port: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PARTIAL_S", 0.1)
    monkeypatch.setattr(server, "_SWEEP_S", 0.05)
    with opened(port) as bridge, dial(bridge) as idle, dial(bridge) as plc:
        ask(idle, read(4, 1, 1))
        plc.sendall(frame(read(4, 0, 32))[:9])
        assert closed(plc)
        assert words_of(ask(idle, read(4, 1, 1))) == (77,)


def test_a_peer_that_reads_no_answers_is_not_read_from(bridge: ModbusBridge) -> None:
    requests = frame(read(4, 0, 32)) * 5000
    sent = 0
    with dial(bridge) as deaf, dial(bridge) as plc:
        deaf.setblocking(False)
        stuck_since = time.monotonic()
        while time.monotonic() - stuck_since < 0.5 and sent < 1 << 26:
            try:
                sent += deaf.send(requests)
                stuck_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < 1 << 26, "64 MiB of requests were taken from a peer that reads no answer"
        assert words_of(ask(plc, read(4, 1, 1))) == (77,)


def test_only_named_peers_may_connect(port: Shown) -> None:
    with opened(port, peers=["127.0.0.2", "127.0.1.0/24"]) as bridge:
        with dial(bridge) as stranger:
            assert closed(stranger)
        for source in ("127.0.0.2", "127.0.1.77"):
            with dial(bridge, source=source) as plc:
                assert words_of(ask(plc, read(4, 1, 1))) == (77,)
        assert bridge.traffic.refused == 1
        assert bridge.traffic.connections == 2


def test_a_new_connection_takes_the_place_of_the_idlest(port: Shown) -> None:
    with opened(port, connections=2) as bridge, dial(bridge) as first, dial(bridge) as second:
        ask(second, read(4, 1, 1))
        ask(first, read(4, 1, 1))
        with dial(bridge) as third:
            assert words_of(ask(third, read(4, 1, 1))) == (77,)
            assert closed(second)
            assert words_of(ask(first, read(4, 1, 1))) == (77,)
        assert bridge.traffic.evicted == 1


def test_whoever_never_asked_makes_room_first(port: Shown, caplog) -> None:
    """Forty that say nothing, or never finish a frame, push out each other and not the PLC."""
    with opened(port, connections=4) as bridge, ExitStack() as stack:
        plc = stack.enter_context(dial(bridge))
        assert words_of(ask(plc, read(4, 1, 1))) == (77,)
        assert bridge.trouble == ""
        for number in range(40):
            stranger = stack.enter_context(dial(bridge))
            if number % 2:
                stranger.sendall(read(4, 1, 1)[:5])
            assert words_of(ask(plc, read(4, 1, 1))) == (77,)
        assert bridge.traffic.evicted >= 30
        assert "connections were closed, the last one of 127.0.0.1" in bridge.trouble
        told = [one for one in caplog.records if one.levelname == "WARNING"]
        assert len(told) == 1 and "all 4 connections are taken" in told[0].getMessage()


def test_a_plc_that_connects_for_each_scan_fills_no_log() -> None:
    visits = VisitLog()
    lines = [visits.note("10.0.0.7", 0.02 * number) for number in range(10_000)]
    told = [line for line in lines if line]
    assert told[0] == "10.0.0.7 connected"
    assert len(told) == 2 and "connected 10 times within 0.2 s; let it keep" in told[1]
    assert visits.note("10.0.0.7", 10_000.0) == ""  # once an hour is not often
    again = [visits.note("10.0.0.7", 10_001 + 0.02 * number) for number in range(100)]
    assert sum(map(bool, again)) == 1
    strangers = [visits.note(f"10.1.0.{number}", 0.0) for number in range(200)]
    assert sum(map(bool, strangers)) == 63


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.20", "plc.example"])
def test_nobody_listens_to_the_outside_without_naming_peers(host: str) -> None:
    with pytest.raises(ValidationError, match="name the PLC in peers"):
        ModbusSection(host=host)
    assert ModbusSection(host=host, peers=("10.0.0.7",)).host == host


@pytest.mark.parametrize("peer", ["plc", "10.0.0.0/33", ""])
def test_peers_are_addresses_or_networks(peer: str) -> None:
    with pytest.raises(ValidationError, match=r"no IP address or network|the text is empty"):
        ModbusSection(peers=(peer,))


def test_an_address_that_is_taken_is_said_so(bridge: ModbusBridge, port: Shown) -> None:
    with pytest.raises(StationError, match=rf"cannot listen on 127.0.0.1:{bridge.port}: .+ ss "):
        ModbusBridge(port, ModbusSection(port=bridge.port))


def test_it_is_gone_after_close_and_can_be_opened_again(port: Shown) -> None:
    before = threading.active_count()
    with opened(port) as bridge, dial(bridge) as plc:
        assert bridge.where == f"modbus tcp://127.0.0.1:{bridge.port}"
        ask(plc, read(4, 1, 1))
        bridge.close()
        bridge.close()
        assert closed(plc)
        with pytest.raises(ConnectionRefusedError):
            dial(bridge)
        with opened(port, port=bridge.port) as again, dial(again) as plc_again:
            assert words_of(ask(plc_again, read(4, 1, 1))) == (77,)
    assert threading.active_count() == before


def test_a_station_that_fails_costs_a_connection_and_not_the_bridge(
    bridge: ModbusBridge, port: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Snapshot:
        raise RuntimeError("a defect")

    with dial(bridge) as plc:
        monkeypatch.setattr(port, "snapshot", fail)
        plc.sendall(frame(read(4, 0, 32)))
        assert closed(plc)
    monkeypatch.undo()
    with dial(bridge) as plc:
        assert words_of(ask(plc, read(4, 1, 1))) == (77,)


def test_ipv6_loopback(port: Shown) -> None:
    try:
        bridge = ModbusBridge(port, ModbusSection(host="::1", port=0))
    except StationError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with bridge, closing(socket.create_connection(("::1", bridge.port), timeout=5)) as plc:
        assert words_of(ask(plc, read(4, 1, 1))) == (77,)
        assert bridge.where == f"modbus tcp://[::1]:{bridge.port}"
