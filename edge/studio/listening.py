"""Where the studio listens, and what it asks of those who reach it there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cameras.push.address import Binding, host_and_port, token_from_text
from cameras.push.limits import add_port, host_names
from edge.options import StudioOptions
from edge.studio.refusals import StudioError
from process.plain_files import read_plain_text

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")
_PERSON = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Door:
    """Where the page is, and who may come in.

    Attributes:
        binding: where to listen.
        hosts: further names that it is called by.
        tokens: by the names of their owners; empty on loopback without a token file.
        tls: certificate and key; None without TLS of its own.
        behind_tls: a proxy in front speaks TLS.
    """

    binding: Binding
    hosts: frozenset[str]
    tokens: Mapping[str, bytes] = field(repr=False)
    tls: tuple[Path, Path] | None
    behind_tls: bool

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by TLS."""
        return self.tls is not None or self.behind_tls

    def names(self, own_ip: str) -> frozenset[str]:
        """What a request's Host may be, in lower case.

        Args:
            own_ip: the address of this machine that it came to.
        """
        port = self.binding.port
        found = host_names(own_ip, port)
        if self.is_secure and port == 443:
            found |= {name.rpartition(":")[0] for name in found}
        named = {name for name in self.hosts if ":" not in name}
        # Without a port as well: a proxy in front may listen where browsers leave it out.
        return found | add_port(named, port) | self.hosts


def door_from(options: StudioOptions) -> Door:
    """Check where to listen; others than this machine need a token and TLS.

    Raises:
        StudioError: no such address, or others reach it and something is missing.
    """
    where = f"studio {options.listen}"
    try:
        host, port = host_and_port(options.listen)
    except ValueError as error:
        raise StudioError(f"{where}: {error}; write 127.0.0.1:9470") from None
    for name in options.hosts:
        if not _HOST.fullmatch(name.lower()):
            raise StudioError(
                f"studio.hosts: {name!r} is not a host name; write line3.plant.example"
            )
    if (options.tls_cert is None) != (options.tls_key is None):
        raise StudioError("studio: --tls-cert and --tls-key belong together; give both")
    if options.tls_cert is not None and options.behind_tls:
        raise StudioError("studio: --tls-cert and --behind-tls: two places of TLS; give one")
    tokens = {} if options.token_file is None else tokens_from_file(options.token_file)
    tls = None
    if options.tls_cert is not None and options.tls_key is not None:
        tls = (options.tls_cert, options.tls_key)
    if not ipaddress.ip_address(host).is_loopback and not (tokens and (tls or options.behind_tls)):
        raise StudioError(
            f"{where}: others can reach this address; give --token-file, and --tls-cert with "
            "--tls-key or --behind-tls, or use 127.0.0.1"
        )
    hosts = frozenset(name.lower() for name in options.hosts)
    return Door(Binding(host, port), hosts, tokens, tls, options.behind_tls)


def tokens_from_file(path: Path) -> dict[str, bytes]:
    """Read a file of lines ``NAME TOKEN``; a line that begins with # is none.

    Raises:
        StudioError: it cannot be read, has no line, or one that is wrong; no token is told.
    """
    where = f"studio.token_file: {path}"
    try:
        lines = read_plain_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError(f"{where}: cannot be read; check path and permissions") from error
    found: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, token = line.strip().partition(" ")
        if not _PERSON.fullmatch(name) or not token.strip() or name in found:
            raise StudioError(f"{where}: line {number}: write NAME TOKEN, each name once")
        try:
            found[name] = token_from_text(token.strip())
        except ValueError as error:
            raise StudioError(f"{where}: line {number}: the token {error}") from None
    if not found:
        raise StudioError(f"{where}: no token in it; write a line NAME TOKEN for each person")
    return found
