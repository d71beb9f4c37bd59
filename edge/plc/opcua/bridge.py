"""The OPC UA bridge: a station's nodes and methods, served in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from contextlib import AbstractContextManager

from edge.plc.opcua.section import OpcuaSection
from edge.plc.opcua.server import StationServer
from edge.plc.password import read_password
from edge.plc.station.port import Port
from edge.plc.station.snapshot import StationError


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
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="edge-opcua", daemon=True
        )
        self._thread.start()
        try:
            started.result()
        except OSError as error:
            self._thread.join()
            raise StationError(
                f"opcua: cannot listen on {section.host}:{section.port}: "
                f"{_reason(error)}; take another opcua.port"
            ) from error

    @property
    def where(self) -> str:
        """Its address, for the log."""
        return f"opcua {self.url}"

    @property
    def url(self) -> str:
        """The endpoint that clients connect to."""
        return self._section.url

    def close(self) -> None:
        """Close every session and stop; a second call does nothing."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        finally:
            if not started.done():  # an error that nobody foresaw: the thread says which
                started.set_exception(StationError("opcua: the server did not start; see the log"))

    async def _serve(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self._server.start()
        except (OSError, StationError) as error:
            started.set_exception(error)
            return
        started.set_result(None)
        try:
            await self._ended.wait()
        finally:
            await self._server.stop()


def open_bridge(port: Port, section: OpcuaSection) -> OpcuaBridge:
    """Open the bridge: it serves until it is closed. Errors: see `OpcuaBridge`."""
    return OpcuaBridge(port, section)


def _reason(error: OSError) -> str:
    """The system's words: asyncio's repeat the address. Those of a name have no positive number."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)
