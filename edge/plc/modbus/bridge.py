"""The Modbus TCP bridge: a station's registers, served in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import AbstractContextManager

from edge.plc.modbus.registers import StationRegisters
from edge.plc.modbus.section import ModbusSection, networks_from_names
from edge.plc.modbus.server import ModbusServer, Traffic
from edge.plc.station.port import Port
from edge.plc.station.snapshot import StationError

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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="edge-modbus", daemon=True)
        self._thread.start()
        begun = asyncio.run_coroutine_threadsafe(
            self._server.start(section.host, section.port), self._loop
        )
        try:
            self._number = begun.result()
        except OSError as error:
            self._end()
            raise StationError(_no_address(section, error)) from error
        self._host = section.host

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

    def close(self) -> None:
        """Close every connection and stop; a second call does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result()
        self._end()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def open_bridge(port: Port, section: ModbusSection) -> ModbusBridge:
    """Open the bridge: it serves until it is closed. Errors: see `ModbusBridge`."""
    return ModbusBridge(port, section)


def _no_address(section: ModbusSection, error: OSError) -> str:
    # The system's words: asyncio's repeat the address. Those of a name have no positive number.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    what = f"modbus: cannot listen on {section.host}:{section.port}: {reason}"
    if isinstance(error, PermissionError):
        return f"{what}; take a port from 1024 up, or allow it with setcap cap_net_bind_service"
    return f"{what}; see who has it with: ss -ltnp, or take another port"
