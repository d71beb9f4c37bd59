"""The Modbus TCP server: connections, frames, and who may connect.

pymodbus reads and writes what is inside a frame; connections and framing are our own, because
pymodbus 3.16's server drops all but the first of several requests that arrive together, and after
one wrong protocol identifier never answers that connection again.

A frame that cannot be one (protocol identifier, length) ends its connection, since nothing says
where the next frame begins. Everything else is answered, if only with a refusal.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cameras.push.crowd import Crowd, keep_alive
from edge.plc.modbus.registers import StationRegisters
from edge.plc.modbus.requests import answer
from edge.plc.modbus.section import Network
from edge.plc.modbus.visits import VisitLog

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEADER = struct.Struct(">HHHB")  # MBAP: transaction, protocol, length that follows, unit
_MIN_LENGTH = 2  # unit and function
_MAX_LENGTH = 254  # unit and a PDU of at most 253 bytes
_FRAMES_AT_ONCE = 16  # requests of one connection that are answered before the others get a turn
_PARTIAL_S = 5.0  # a frame that is not complete after this ends its connection
_SWEEP_S = 1.0
_REFUSED_KEPT = 64  # addresses whose refusal is logged once

_log = logging.getLogger("edge.plc.modbus")


@dataclass(slots=True)
class Traffic:
    """What a server has seen since it began.

    Attributes:
        connections: accepted.
        refused: connections from addresses that are not allowed.
        evicted: connections closed to make room for a new one: first those that never asked.
        requests: frames answered.
        malformed: connections ended because of bytes that are no frame.
    """

    connections: int = 0
    refused: int = 0
    evicted: int = 0
    requests: int = 0
    malformed: int = 0


class ModbusServer:
    """Serves registers to Modbus TCP peers; any unit identifier is answered.

    Args:
        registers: what is served.
        peers: networks that may connect.
        max_connections: at a time. One more closes the oldest that never asked anything, or else
            the one that was idle longest, since a PLC that lost power leaves a connection behind
            that nobody will ever close.
    """

    def __init__(
        self, registers: StationRegisters, *, peers: Sequence[Network], max_connections: int
    ) -> None:
        self.registers = registers
        self.traffic = Traffic()
        self._peers = tuple(peers)
        self._max_connections = max_connections
        self._open: dict[_Connection, None] = {}  # the order is that of the latest request
        self._crowd = Crowd()
        self._visits = VisitLog()
        self._refused: set[Address] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chooses for 0.

        Raises:
            OSError: the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        self._sweeper = loop.create_task(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection and stop listening; a second call does nothing."""
        if self._server is None or self._sweeper is None:
            return
        self._server.close()
        self._sweeper.cancel()
        for connection in tuple(self._open):
            connection.end()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        await asyncio.sleep(0)  # let the transports call connection_lost
        self._server = self._sweeper = None

    def admit(self, connection: _Connection, peer: Address) -> bool:
        """Take a new connection in; False if its address is not allowed."""
        if not any(peer in network for network in self._peers):
            self._refuse(peer)
            return False
        while len(self._open) >= self._max_connections:
            self._evict()
        self._open[connection] = None
        self.traffic.connections += 1
        line = self._visits.note(str(peer), time.monotonic())
        if line:
            _log.info("modbus: %s", line)
        return True

    @property
    def trouble(self) -> str:
        """That connections were too many within the last minute; empty if not; any thread."""
        trouble = self._crowd.trouble(time.monotonic())
        return f"modbus: {trouble}" if trouble else ""

    def _evict(self) -> None:
        """Close the connection that is missed least."""
        silent = (one for one in self._open if not one.has_asked)
        loser = next(silent, None) or next(iter(self._open))
        self.traffic.evicted += 1
        if self._crowd.note(loser.peer, time.monotonic()):
            _log.warning(
                "modbus: all %d connections are taken: closed the one of %s; see who connects "
                "there, or raise modbus.connections",
                *(self._max_connections, loser.peer),
            )
        self.forget(loser)
        loser.end()

    def touch(self, connection: _Connection) -> None:
        """Note that a connection has just asked something."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that has ended; one that is not there is fine."""
        self._open.pop(connection, None)

    def _refuse(self, peer: Address) -> None:
        self.traffic.refused += 1
        if peer not in self._refused and len(self._refused) < _REFUSED_KEPT:
            self._refused.add(peer)
            _log.warning("modbus: refused %s: it is not among the peers", peer)

    async def _sweep(self) -> None:
        """End connections that began a frame and never finished it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            for connection in tuple(self._open):
                connection.end_if_partial_since(loop.time() - _PARTIAL_S)


class _Connection(asyncio.Protocol):
    """One peer: cuts the stream into frames and answers each, in order."""

    def __init__(self, server: ModbusServer) -> None:
        self.peer = "?"
        self.has_asked = False
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._partial_since: float | None = None
        self._broken = False  # nothing says where the next frame begins
        self._more = False  # complete frames wait for the next turn
        self._choked = False  # the peer does not read its answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"modbus: {type(transport).__name__} is no stream; this is a defect")
        self._transport = transport
        address = _address(transport)
        self.peer = str(address)
        if address is None or not self._server.admit(self, address):
            self.end()
            return
        keep_alive(transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._buffer.clear()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._buffer += data
        if not self._more:
            self._answer()

    def pause_writing(self) -> None:
        """The peer does not read its answers: read no more of its requests."""
        self._choked = True
        self._steer()

    def resume_writing(self) -> None:
        self._choked = False
        self._steer()

    def end(self) -> None:
        """Close at once; what was not sent is lost."""
        if self._transport is not None:
            self._transport.abort()

    def end_if_partial_since(self, moment: float) -> None:
        """Close if a frame was begun before `moment`, in the loop's time, and is not complete."""
        if self._partial_since is not None and self._partial_since < moment:
            self._note_malformed("a frame that was never finished")
            self.end()

    def _answer(self) -> None:
        """Answer the complete frames, at most so many that other peers are not kept waiting."""
        transport, self._more = self._transport, False
        if transport is None or transport.is_closing():
            return
        answers = bytearray()
        for _ in range(_FRAMES_AT_ONCE):
            frame = self._frame()
            if frame is None:
                break
            transaction, unit, pdu = frame
            response = answer(pdu, self._server.registers)
            answers += _HEADER.pack(transaction, 0, len(response) + 1, unit) + response
            self._server.traffic.requests += 1
        else:
            self._more = True
            self._loop.call_soon(self._answer)
        if answers:
            self.has_asked = True
            self._server.touch(self)
            transport.write(bytes(answers))
        if self._broken:
            transport.close()
        self._steer()

    def _frame(self) -> tuple[int, int, bytes] | None:
        """Cut the next frame off: transaction, unit, PDU. None if it is not complete."""
        buffer = self._buffer
        if len(buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(buffer)
            if protocol != 0 or not _MIN_LENGTH <= length <= _MAX_LENGTH:
                self._note_malformed(f"protocol identifier {protocol}, length {length}")
                self._broken = True
                return None
            end = _HEADER.size - 1 + length
            if len(buffer) >= end:
                pdu = bytes(buffer[_HEADER.size : end])
                del buffer[:end]
                self._partial_since = None
                return transaction, unit, pdu
        if buffer and self._partial_since is None:
            self._partial_since = self._loop.time()
        return None

    def _note_malformed(self, what: str) -> None:
        self._server.traffic.malformed += 1
        _log.debug("modbus: closed %s: %s", self.peer, what)

    def _steer(self) -> None:
        """Read from the peer only while its requests are answered and its answers are read."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._more or self._choked:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _address(transport: asyncio.Transport) -> Address | None:
    """The peer's address; an IPv4 address that came through an IPv6 socket is that of IPv4."""
    name = transport.get_extra_info("peername")
    if not name:  # gone before it was accepted
        return None
    address = ipaddress.ip_address(str(name[0]).partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
