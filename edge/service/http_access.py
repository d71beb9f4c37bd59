"""Who may ask the monitor, or trigger a capture, judged by what a request says of itself."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from pathlib import Path

from cameras.push.address import Binding, host_and_port, token_from_file
from cameras.push.limits import add_port, host_names
from edge.service.http_routes import Response, text_response

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")
_OWN_SITES = frozenset({"same-origin", "none"})
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="edge", charset="UTF-8"')


class MonitorError(ValueError):
    """The monitor cannot be opened there, or not so."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read.

    Attributes:
        token_file: holds the token that every request must show; None only on loopback.
        hosts: names, with or without a port, by which it may be called beside its IP address.
    """

    token_file: Path | None = None
    hosts: tuple[str, ...] = ()


def monitor_binding(address: str, access: Access, *, what: str = "monitor") -> Binding:
    """Where to listen, and the token that is asked for there.

    Args:
        address: ``127.0.0.1:9464``, ``[::1]:9464``; port 0 takes a free one.
        access: who may read.
        what: listens there, in messages.

    Raises:
        MonitorError: no such address, others reach it and there is no token, or a name is none.
    """
    try:
        host, port = host_and_port(address)
    except ValueError as error:
        raise MonitorError(f"{what} {address}: {error}; write 127.0.0.1:9464") from None
    for name in access.hosts:
        if not _NAME.fullmatch(name.lower()):
            raise MonitorError(
                f"life.monitor_hosts: {name!r} is not a host name; write line3.plant.example"
            )
    if access.token_file is not None:
        try:
            return Binding(host, port, token_from_file(access.token_file))
        except ValueError as error:
            where = f"life.monitor_token: {access.token_file}"
            raise MonitorError(f"{where}: {error}") from error
    if not ipaddress.ip_address(host).is_loopback:
        raise MonitorError(
            f"{what} {address}: others can reach this address; give life.monitor_token a file "
            "with a token, or use 127.0.0.1"
        )
    return Binding(host, port)


class RequestGuard:
    """Decides who may read; stateless.

    Args:
        bound: where it listens, with its token.
        hosts: further names; see `Access`.
    """

    def __init__(self, bound: Binding, hosts: tuple[str, ...] = ()) -> None:
        self._bound = bound
        names = {name.lower() for name in hosts}
        # Without a port as well: a proxy in front may listen where browsers leave it out.
        self._hosts = add_port({name for name in names if ":" not in name}, bound.port) | names

    def refusal(self, headers: Message, *, own_ip: str) -> Response | None:
        """Why a request gets nothing; None if it may read.

        Another site's page that is open in a browser here is recognised by the name it calls us
        by, by its Origin, and by what the browser says of where the request comes from.

        Args:
            headers: of the request.
            own_ip: the address of this machine that it came to.
        """
        hosts = [value.strip().lower() for value in headers.get_all("Host", [])]
        if len(hosts) != 1 or hosts[0] not in host_names(own_ip, self._bound.port) | self._hosts:
            line = "another host's name; life.monitor_hosts has those that are ours"
            return text_response(HTTPStatus.MISDIRECTED_REQUEST, line)
        origins = headers.get_all("Origin", [])
        own = {f"http://{hosts[0]}", f"https://{hosts[0]}"}  # https: a proxy's
        if any(origin.strip().lower() not in own for origin in origins):
            return text_response(HTTPStatus.FORBIDDEN, "not for another site's page")
        sites = headers.get_all("Sec-Fetch-Site", [])
        if any(site.strip().lower() not in _OWN_SITES for site in sites):
            line = "not through another site's page or link; enter this address itself"
            return text_response(HTTPStatus.FORBIDDEN, line)
        if self._bound.token and not self._shows_token(headers):
            line = "show the token: as password, any user name, or as Authorization: Bearer TOKEN"
            return text_response(HTTPStatus.UNAUTHORIZED, line, _CHALLENGE)
        return None

    def _shows_token(self, headers: Message) -> bool:
        shown = headers.get_all("Authorization", [])
        if len(shown) != 1:
            return False
        scheme, _, rest = shown[0].strip().partition(" ")
        word = rest.strip().encode("latin-1", "replace")
        if scheme.lower() == "bearer":
            return self._bound.accepts_token(word)
        if scheme.lower() != "basic":
            return False
        try:
            pair = base64.b64decode(word, validate=True)
        except binascii.Error:
            return False
        return self._bound.accepts_token(pair.partition(b":")[2])
