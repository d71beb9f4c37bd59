"""Where a source listens for pictures, and who may bring them."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cameras.errors import CameraError, SourceError
from cameras.options import OpenOptions
from process.plain_files import read_plain_text

MAX_CONNECTIONS = 16
"""That a source serves at once; further ones are closed."""
PATIENCE_S = 10.0
"""Within which a picture that began to arrive must be complete."""
MAX_PORT = 65535
_MIN_TOKEN_LENGTH = 16
_MAX_TOKEN_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Binding:
    """An address to listen at.

    Attributes:
        host: an IP address.
        port: 0 lets the system choose one.
        token: what a host must show; empty on this machine's own address without one.
    """

    host: str
    port: int
    token: bytes = field(default=b"", repr=False)

    def accepts_token(self, shown: bytes) -> bool:
        """Tell whether this is the token, in a time that tells nothing about it."""
        return hmac.compare_digest(shown, self.token)

    @property
    def address(self) -> str:
        """``host:port``, as it stands in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def binding_from_address(address: str, options: OpenOptions) -> Binding:
    """Return where ``scheme://HOST:PORT`` listens; without HOST it is 127.0.0.1.

    An address that others reach needs the option ``token`` or ``token_file``.

    Raises:
        SourceError: not of this form, or reachable by others without a token.
    """
    scheme, _, rest = address.partition("://")
    token = _token_from_options(options)
    try:
        host, port = host_and_port(rest.rstrip("/"))
    except ValueError as error:
        raise SourceError(f"{options.name}: {error}; write {scheme}://127.0.0.1:PORT") from None
    if not token and not ipaddress.ip_address(host).is_loopback:
        raise SourceError(
            f"{options.name}: others can reach this address; give token_file=FILE, or use 127.0.0.1"
        )
    return Binding(host, port, token)


def host_and_port(address: str) -> tuple[str, int]:
    """Return the IP address and the port of ``HOST:PORT``; without HOST it is 127.0.0.1.

    Raises:
        ValueError: no port or none that can be, or a host that is no IP address; says which, and
            repeats nothing, since a password may have come there by mistake.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port or address.endswith("]"):
        raise ValueError("the port is missing")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not is_number or int(port) > MAX_PORT:
        raise ValueError(f"the port must be a number from 0 to {MAX_PORT}")
    in_brackets = host.startswith("[") and host.endswith("]")
    if ":" in host and not in_brackets:
        raise ValueError("an IPv6 address stands in brackets, such as [::1]:9464")
    host = (host[1:-1] if in_brackets else host) or "127.0.0.1"
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError("the host is no IP address") from None
    return str(ip), int(port)


def token_from_file(path: Path) -> bytes:
    """Return what a file holds, as a token; white space around it does not count.

    Raises:
        ValueError: it cannot be read, or is none; what it holds is not told.
    """
    try:
        text = read_plain_text(path.expanduser())
    except (OSError, RuntimeError, UnicodeDecodeError) as error:  # also: nobody is called so
        raise ValueError("cannot be read; check path and permissions") from error
    return token_from_text(text.strip())


def token_from_text(text: str) -> bytes:
    """Return a text as a token.

    Raises:
        ValueError: too short, too long, or not ASCII; it is not told.
    """
    if not (_MIN_TOKEN_LENGTH <= len(text) <= _MAX_TOKEN_LENGTH and text.isascii()):
        raise ValueError(
            f"must be {_MIN_TOKEN_LENGTH} to {_MAX_TOKEN_LENGTH} ASCII characters; "
            "`openssl rand -hex 24` makes one"
        )
    return text.encode()


def error_from_bind(name: str, error: OSError) -> CameraError:
    """Return the error of an address that cannot be had."""
    what = error.strerror or str(error)
    return CameraError(f"{name}: cannot listen: {what}; choose another port or address")


def _token_from_options(options: OpenOptions) -> bytes:
    """Return what ``token`` says or ``token_file`` holds."""
    token, file = options.text("token"), options.text("token_file")
    if token is not None and file is not None:
        raise SourceError(f"{options.name}: token and token_file exclude each other")
    try:
        if file is not None:
            return token_from_file(Path(file))
        return b"" if token is None else token_from_text(token)
    except ValueError as error:
        what = "token" if file is None else "token_file"
        raise SourceError(f"{options.name}: {what} {error}") from error
