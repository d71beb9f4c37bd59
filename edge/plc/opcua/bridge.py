"""The OPC UA bridge: a station's nodes and methods, served in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cameras.closing import Closing
from edge.plc.opcua.nodes import map_rows
from edge.plc.station import Port, StationError

if TYPE_CHECKING:
    from edge.plc.opcua.server import StationServer

__all__ = ["OpcuaBridge", "OpcuaSection", "map_rows", "open_bridge"]


class OpcuaSection(BaseModel):
    """How the bridge serves; a section of ``edge.toml``.

    Attributes:
        host: address to listen on.
        port: 4840 is the registered one.
        pki: folder of certificates: ``own``, ``trusted``, ``rejected``; made on the first start.
        user: name that a client must give.
        password_file: file whose first line is that user's password.
        anonymous: let in clients that name no user.
        any_certificate: let in clients whose certificate is not in ``trusted``.
        plain: also offer an endpoint without signature, encryption and certificates.
        station: first part of every node's identifier; None takes the station's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4840
    pki: Path = Path("pki/opcua")
    user: str | None = None
    password_file: Path | None = None
    anonymous: bool = False
    any_certificate: bool = False
    plain: bool = False
    station: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    @model_validator(mode="after")
    def _somebody_may_connect(self) -> OpcuaSection:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together; give both")
        if self.user is None and not self.anonymous:
            raise ValueError(
                "nobody may connect; give user and password_file, "
                "or anonymous = true to let in clients that name no user"
            )
        return self


class OpcuaBridge(Closing):
    """Serves a station's nodes from its birth until it is closed.

    Args:
        port: the station.
        section: where and to whom.

    Raises:
        StationError: no address, no certificate, no password, or asyncua is not installed.
    """

    def __init__(self, port: Port, section: OpcuaSection) -> None:
        self._section = section
        self._server = _server(port, section)
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
        return endpoint_url(self._section.host, self._section.port)

    def close(self) -> None:
        """Close every session and stop; a second call does nothing."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

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


def endpoint_url(host: str, port: int) -> str:
    """Return the URL of an endpoint; an IPv6 address comes in brackets."""
    return f"opc.tcp://[{host}]:{port}" if ":" in host else f"opc.tcp://{host}:{port}"


def _reason(error: OSError) -> str:
    """The system's words: asyncio's repeat the address. Those of a name have no positive number."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def _server(port: Port, section: OpcuaSection) -> StationServer:
    try:
        from edge.plc.opcua.server import StationServer
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "asyncua":
            raise
        raise StationError(
            "opcua: asyncua is not installed; pip install 'protoedge[plc]'"
        ) from error
    return StationServer(port, section, password=_password(section))


def _password(section: OpcuaSection) -> str:
    """Read the password: a file, since what is in ``edge.toml`` ends up in backups and tickets."""
    if section.password_file is None:
        return ""
    try:
        lines = section.password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StationError(
            f"opcua: {section.password_file}: {reason}; write the password of "
            f"{section.user} into it, one line"
        ) from error
    if not lines or not lines[0]:
        raise StationError(f"opcua: {section.password_file}: empty; write the password into it")
    return lines[0]
