"""Runs the page until a signal comes, within limits that strangers cannot pass."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cameras.push.address import Binding
from edge.config import Config
from edge.result import Say
from edge.service.signals import stop_on_signals
from edge.service.systemd import SystemdNotifier
from edge.studio.app import make_app
from edge.studio.listening import Door, door_from
from edge.studio.refusals import StudioError
from edge.studio.studio import Studio
from process.signals import FINISHING_S, end_within
from process.threads import GuardedThread

MAX_CONNECTIONS = 64
HEAD_S = 5.0
"""Within which a request has to begin and its head to be whole; then the connection is closed."""
ANSWER_S = 60.0
"""Within which an answer has to be taken."""
_MAX_HEAD_BYTES = 16 * 1024
ALIVE_S = 2  # between two signs of life for systemd
LOOK_S = 1.0


def serve_studio(config: Config, *, say: Say) -> None:
    """Serve the page until a signal comes.

    Args:
        config: `edge.toml`, with what the command line says of the studio.
        say: takes lines for people.

    Raises:
        StudioError: it cannot be opened there, or not so.
    """
    end_within(FINISHING_S)
    notifier = SystemdNotifier()
    with stop_on_signals() as stop, StudioServer(config, on_alive=notifier.alive) as server:
        say(f"{server.address}: the studio; Ctrl-C ends it")
        notifier.ready()
        stop.wait()
        notifier.stopping()


class StudioServer(AbstractContextManager["StudioServer"]):
    """The page; released by `close` or at the end of `with`.

    Args:
        config: `edge.toml`.
        on_alive: called each few seconds while pages are answered.

    Attributes:
        studio: what its pages share.
        port: that it listens on.
        address: that a browser takes.

    Raises:
        StudioError: it cannot be opened there, or not so.
    """

    def __init__(self, config: Config, *, on_alive: Callable[[], None] | None = None) -> None:
        door = door_from(config.studio)
        settings = _settings_of(door)
        if on_alive is not None:
            settings.callback_notify = _awaitable(on_alive)
            settings.timeout_notify = ALIVE_S
        self._socket = _listen(door.binding)
        try:
            self.port = int(self._socket.getsockname()[1])
            binding = Binding(door.binding.host, self.port)
            door = Door(binding, door.hosts, door.tokens, door.tls, door.behind_tls)
            self.address = f"{'https' if door.tls else 'http'}://{binding.address}"
            self.studio = Studio(config, door)
        except BaseException:
            self._socket.close()
            raise
        settings.app = make_app(self.studio)
        self._server = uvicorn.Server(settings)
        self._thread = GuardedThread(
            lambda: self._server.run([self._socket]), name="edge-studio", goes_on=False
        )
        self._thread.start()

    def close(self) -> None:
        """End jobs, cameras and connections; a second call does nothing."""
        self._server.should_exit = True
        self._thread.join()
        self.studio.close()
        self._socket.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class ImpatientLoop(asyncio.SelectorEventLoop):
    """An event loop whose TLS handshakes have no more time than a request's head."""

    async def create_server(self, *words: Any, **given: Any) -> asyncio.Server:
        """See asyncio; its own limit is a minute."""
        if given.get("ssl") is not None:
            given["ssl_handshake_timeout"] = HEAD_S
        return await super().create_server(*words, **given)


class _LimitedProtocol(H11Protocol):
    """A connection whose time is limited, and that makes room for newcomers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place: that of the oldest that waits for nothing, if all are taken."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._idle_since_s = self._begun_s = self.loop.time()
        idle = [one for one in self.connections if isinstance(one, _LimitedProtocol)]
        if len(idle) > MAX_CONNECTIONS:
            idle.sort(key=lambda one: (one._is_answering, one._idle_since_s))
            idle[0].transport.abort()
        self._look()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._idle_since_s = self.loop.time()
        super().on_response_complete()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _look(self) -> None:
        """End the connection when its time is over."""
        if self.transport.is_closing():
            return
        waited_s = self.loop.time() - self._idle_since_s
        if waited_s >= (ANSWER_S if self._is_answering else HEAD_S):
            self.transport.abort()
        else:
            self.loop.call_later(LOOK_S, self._look)


def _awaitable(call: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def called() -> None:
        call()

    return called


def _settings_of(door: Door) -> uvicorn.Config:
    """How the page is served.

    Raises:
        StudioError: certificate and key are none, or do not belong together.
    """
    files: dict[str, Any] = {}
    if door.tls is not None:
        files = {"ssl_certfile": door.tls[0], "ssl_keyfile": door.tls[1]}
    settings = uvicorn.Config(
        "",
        http=_LimitedProtocol,
        loop=f"{__name__}:{ImpatientLoop.__name__}",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_graceful_shutdown=3,
        **files,
    )
    if door.tls is not None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*door.tls)
        except OSError as error:  # an SSLError is one
            raise StudioError(
                f"studio: --tls-cert {door.tls[0]}, --tls-key {door.tls[1]}: "
                f"{error.strerror or error}; give a certificate and its own key, PEM"
            ) from error
    return settings


def _listen(binding: Binding) -> socket.socket:
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((binding.host, binding.port))
        listening.listen(MAX_CONNECTIONS)
    except OSError as error:
        with contextlib.suppress(OSError):
            listening.close()
        raise StudioError(f"studio {binding.address}: {error.strerror}; give another") from error
    return listening
