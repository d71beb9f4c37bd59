"""The OPC UA server itself (asyncua): endpoints, who may connect, nodes and methods.

All of this runs in one event loop. What is shown is written in one go without giving way to others,
so that a Read of several nodes never mixes two moments; and it is asked of the station again
before each Read, so that it is never older than the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Coroutine
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

from asyncua import ua
from asyncua.common.callback import Callback, CallbackType, ServerItemCallback
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509

from edge.plc.opcua.address_space import StationSpace, node_id
from edge.plc.opcua.certificates import Clients, load_or_make_identity, printable_subject
from edge.plc.opcua.methods import Methods
from edge.plc.opcua.nodes import CONTROL, NAMESPACE, control_from_values, node_name
from edge.plc.opcua.section import OpcuaSection
from edge.plc.station.port import Port
from edge.plc.station.snapshot import Snapshot

_log = logging.getLogger("edge.plc.opcua")
SOURCE = "opcua"
TICK_S = 0.1  # of the heartbeat
SETTLE_S = 0.002  # from a change to the subscriptions; who reads is shown the newest anyway
_SECURE = (
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
)


class StationServer:
    """Shows a station; `start` and `stop` belong to one event loop.

    Args:
        port: the station.
        section: where and to whom.
        password: of the section's user.
    """

    def __init__(self, port: Port, section: OpcuaSection, *, password: str) -> None:
        self._port = port
        self._section = section
        self._station = section.station or port.snapshot().station
        self._identity = load_or_make_identity(
            section.pki, station=self._station, host=section.host
        )
        self._clients = Clients(section.pki, everyone=section.any_certificate)
        self._gate = _Gate(section, self._clients, password=password)
        self._times = CertificateValidator(CertificateValidatorOptions.BASIC_VALIDATION)
        self._server: Server | None = None
        self._space: StationSpace | None = None
        self._controls: dict[ua.NodeId, ua.VariantType] = {}
        self._levels: tuple[ua.NodeId, ...] = ()
        self._woken = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Build the address space and listen.

        Raises:
            OSError: the address cannot be had.
        """
        await self._try_address()
        server = Server(user_manager=self._gate)
        server.name = f"protoedge {self._station}"
        server.product_uri, server.manufacturer_name = "urn:protoedge", "protoedge"
        await server.init()
        await server.set_build_info(
            *(server.product_uri, server.manufacturer_name, server.name),
            *(version("protoedge"), "0", datetime.now(timezone.utc)),
        )
        await self._secure(server)
        index = await server.register_namespace(NAMESPACE)
        methods = Methods(self._port)
        self._space = await StationSpace.build(server, index, self._station, methods=methods)
        self._remember_controls(index)
        server.subscribe_server_callback(CallbackType.PreRead, self._before_read)
        server.subscribe_server_callback(CallbackType.PreWrite, self._before_write)
        server.subscribe_server_callback(CallbackType.PostWrite, self._after_write)
        await self._space.show(self._port.snapshot())
        await server.start()
        _encrypt_passwords(server)
        self._server = server
        loop = asyncio.get_running_loop()
        # The listener is called in any thread: it only wakes the loop, which asks for itself.
        self._cancel = self._port.on_change(lambda _: self._wake(loop))
        self._begin(self._tick())

    async def stop(self) -> None:
        """Stop listening; sessions are closed."""
        self._cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()

    async def _try_address(self) -> None:
        """Find out at once whether it can be had; asyncua takes seconds, and logs a traceback."""
        loop = asyncio.get_running_loop()
        host = self._section.host or None
        taken = await loop.create_server(asyncio.Protocol, host, self._section.port)
        taken.close()
        await taken.wait_closed()

    async def _secure(self, server: Server) -> None:
        section = self._section
        await server.set_application_uri(self._identity.uri)
        await server.load_certificate(self._identity.certificate)
        await server.load_private_key(self._identity.key)
        server.set_endpoint(section.url)
        policies = list(_SECURE)
        if section.plain:
            policies.append(ua.SecurityPolicyType.NoSecurity)
        server.set_security_policy(policies)
        tokens: list[type] = [ua.UserNameIdentityToken] if section.user else []
        if section.anonymous:
            tokens.append(ua.AnonymousIdentityToken)
        server.set_identity_tokens(tokens)
        server.allow_remote_admin(False)
        server.set_certificate_validator(self._validate)

    async def _validate(
        self, certificate: x509.Certificate, application: ua.ApplicationDescription
    ) -> None:
        if not self._clients.admits(certificate):
            raise ServiceError(StatusCodes.BadCertificateUntrusted)
        try:
            await self._times.validate(certificate, application)
        except ServiceError as error:
            _log.warning(
                "opcua: the certificate of %s was refused: %s",
                *(printable_subject(certificate), ua.StatusCode(ua.UInt32(error.code)).name),
            )
            raise

    def _remember_controls(self, index: int) -> None:
        ids = tuple(
            node_id(node_name(self._station, "Control", node.name), index) for node in CONTROL
        )
        self._levels = ids
        self._controls = {
            identifier: getattr(ua.VariantType, node.kind)
            for identifier, node in zip(ids, CONTROL, strict=True)
        }

    async def _tick(self) -> None:
        """Show the heartbeat; ends when it is cancelled."""
        while True:
            await self._show(self._port.snapshot())
            await asyncio.sleep(TICK_S)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Show what changed, soon: a cycle has several changes, and its answer goes first."""
        if self._woken:
            return
        self._woken = True
        # A change at the moment of the end finds the loop closed: nobody is there to be shown it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.call_later, SETTLE_S, self._show_change)

    def _show_change(self) -> None:
        self._woken = False  # before the station is asked: what changes from here wakes anew
        self._begin(self._show(self._port.snapshot()))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _show(self, snapshot: Snapshot) -> None:
        if self._space is not None:
            await self._space.show(snapshot)

    async def _before_read(self, event: Callback, _service: Any) -> None:
        if isinstance(event, ServerItemCallback) and event.is_external:
            await self._show(self._port.snapshot())

    async def _before_write(self, event: Callback, _service: Any) -> None:
        """Refuse the whole request if one of its levels is none, before any is taken."""
        if not isinstance(event, ServerItemCallback):
            return
        for write in event.request_params.NodesToWrite:
            kind = self._controls.get(write.NodeId)
            if kind is not None and write.AttributeId == AttributeIds.Value:
                _check_level(write, kind)

    async def _after_write(self, event: Callback, _service: Any) -> None:
        """Act on the levels of one request together: ids and trigger may come in one."""
        if not isinstance(event, ServerItemCallback) or self._space is None:
            return
        if not any(write.NodeId in self._controls for write in event.request_params.NodesToWrite):
            return
        control = control_from_values([self._space.value(node) for node in self._levels])
        await self._show(self._port.control(control, source=SOURCE))


class _Gate(UserManager):
    """Decides who is let in (asyncua's user manager).

    The certificate of the channel is looked at here once more: asyncua lets a client open a channel
    with one certificate and create the session with another, or with none, and takes sessions over
    an open channel that no endpoint offers.
    """

    def __init__(self, section: OpcuaSection, clients: Clients, *, password: str) -> None:
        self._section = section
        self._clients = clients
        self._password = password

    def get_user(
        self,
        _server: Any,
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        """Return the user, or None if there is no entry."""
        if not self._channel_is_good(certificate):
            return None
        if username is None:
            return User(role=UserRole.User) if self._section.anonymous else None
        if self._section.user is None:
            return None
        known = hmac.compare_digest(username.encode(), self._section.user.encode())
        right = hmac.compare_digest((password or "").encode(), self._password.encode())
        if known and right:
            return User(role=UserRole.User, name=username)
        _log.warning("opcua: wrong name or password")
        return None

    def _channel_is_good(self, certificate: bytes | None) -> bool:
        if not certificate:
            if not self._section.plain:
                _log.warning("opcua: a session without encryption was refused")
            return self._section.plain
        try:
            return self._clients.admits(x509.load_der_x509_certificate(certificate))
        except ValueError as error:
            _log.warning("opcua: a client's certificate cannot be read: %s", error)
            return False


def _encrypt_passwords(server: Server) -> None:
    """Ask for passwords encrypted by the channel's policy, once more than the channel does.

    asyncua asks for them as they are on an encrypted channel, which some clients refuse to send.
    """
    for endpoint in server.iserver.endpoints:
        if endpoint.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt:
            for token in endpoint.UserIdentityTokens:
                if token.TokenType == ua.UserTokenType.UserName:
                    token.SecurityPolicyUri = endpoint.SecurityPolicyUri


def _check_level(write: ua.WriteValue, kind: ua.VariantType) -> None:
    value = write.Value
    if value.StatusCode is not None and not value.StatusCode.is_good():
        raise ServiceError(StatusCodes.BadWriteNotSupported)
    variant = value.Value
    if variant is None or variant.VariantType != kind or variant.is_array or write.IndexRange:
        raise ServiceError(StatusCodes.BadTypeMismatch)
    if variant.Value is None:
        raise ServiceError(StatusCodes.BadTypeMismatch)
