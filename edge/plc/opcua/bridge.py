"""The OPC UA bridge: a station's nodes and methods, served in a thread of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager

from edge.plc.listening import LoopThread, error_of_address
from edge.plc.opcua.section import OpcuaSection
from edge.plc.opcua.server import StationServer
from edge.plc.password import read_password
from edge.plc.station.port import Port


class OpcuaBridge(AbstractContextManager["OpcuaBridge"]):
    """Serves a station's nodes from its birth until it is closed.

    Args:
        port: the station.
        section: where and to whom.

    Raises:
        StationError: no address, no certificate or no password.
    """

    def __init__(self, port: Port, section: OpcuaSection) -> None:
        self._section = section
        path = section.password_file
        password = read_password(path, bridge="opcua", user=section.user) if path else ""
        self._server = StationServer(port, section, password=password)
        self._closed = False
        self._loop = LoopThread("edge-opcua")
        try:
            self._loop.call(self._server.start())
        except OSError as error:
            self._loop.close()
            raise error_of_address("opcua", section.host, section.port, error) from error

    @property
    def where(self) -> str:
        """Its address, for the log."""
        return f"opcua {self.url}"

    @property
    def url(self) -> str:
        """The endpoint that clients connect to."""
        return self._section.url

    @property
    def trouble(self) -> str:
        """Nothing that it could not do would go unseen: its sessions end, and clients know."""
        return ""

    def close(self) -> None:
        """Close every session and stop; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._loop.call(self._server.stop())
        finally:
            self._loop.close()

    def __exit__(self, *_: object) -> None:
        self.close()
