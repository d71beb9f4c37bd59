"""The Modbus TCP bridge: a station's registers, served in a thread of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager

from edge.plc.listening import LoopThread, error_of_address
from edge.plc.modbus.registers import StationRegisters
from edge.plc.modbus.section import ModbusSection, networks_from_names
from edge.plc.modbus.server import ModbusServer, Traffic
from edge.plc.station.port import Port

_LOOPBACK = ("127.0.0.0/8", "::1/128")


class ModbusBridge(AbstractContextManager["ModbusBridge"]):
    """Serves a station's registers from its birth until it is closed.

    Args:
        port: the station.
        section: where and to whom.

    Raises:
        StationError: the address cannot be had.
    """

    def __init__(self, port: Port, section: ModbusSection) -> None:
        self._server = ModbusServer(
            StationRegisters(port, order=section.order),
            peers=networks_from_names(section.peers or _LOOPBACK),
            max_connections=section.connections,
        )
        self._host = section.host
        self._closed = False
        self._loop = LoopThread("edge-modbus")
        try:
            self._number = self._loop.call(self._server.start(section.host, section.port))
        except OSError as error:
            self._loop.close()
            raise error_of_address("modbus", section.host, section.port, error) from error

    @property
    def where(self) -> str:
        """Its address, for the log."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"modbus tcp://{host}:{self._number}"

    @property
    def port(self) -> int:
        """The TCP port, also where the system chose it."""
        return self._number

    @property
    def traffic(self) -> Traffic:
        """What was seen so far; it goes on counting."""
        return self._server.traffic

    @property
    def trouble(self) -> str:
        """What keeps peers from being served; empty if nothing does."""
        return self._server.trouble

    def close(self) -> None:
        """Close every connection and stop; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.call(self._server.stop())
        self._loop.close()

    def __exit__(self, *_: object) -> None:
        self.close()
