"""Where a source listens for pictures, and who may bring them."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cameras.errors import CameraError, SourceError
from cameras.options import Options

CONNECTIONS = 16
"""That a source serves at once; further ones are closed."""
PATIENCE_S = 10.0
"""Within which a picture that began to arrive must be complete."""
_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 1024


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

    def admits(self, shown: bytes) -> bool:
        """Tell whether this is the token, in a time that tells nothing about it."""
        return hmac.compare_digest(shown, self.token)

    @property
    def address(self) -> str:
        """``host:port``, as it stands in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def binding_from_address(address: str, options: Options) -> Binding:
    """Return where ``scheme://HOST:PORT`` listens; without HOST it is 127.0.0.1.

    An address that others reach needs the option ``token`` or ``token_file``.

    Raises:
        SourceError: not of this form, or reachable by others without a token.
    """
    scheme, _, rest = address.partition("://")
    host, colon, port = rest.rstrip("/").rpartition(":")
    form = f"write {scheme}://127.0.0.1:PORT"
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SourceError(f"{options.name}: the port is missing; {form}")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise SourceError(f"{options.name}: the host is no IP address; {form}") from None
    token = _token(options)
    if not token and not ip.is_loopback:
        raise SourceError(
            f"{options.name}: others can reach this address; give token_file=FILE, or use 127.0.0.1"
        )
    return Binding(str(ip), int(port), token)


def cannot_listen(name: str, error: OSError) -> CameraError:
    """Return the error of an address that cannot be had."""
    what = error.strerror or str(error)
    return CameraError(f"{name}: cannot listen: {what}; choose another port or address")


def _token(options: Options) -> bytes:
    """Return what ``token`` says or ``token_file`` holds."""
    token, file = options.text("token"), options.text("token_file")
    if token is not None and file is not None:
        raise SourceError(f"{options.name}: token and token_file exclude each other")
    if file is not None:
        try:
            token = Path(file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{options.name}: token_file cannot be read; check path and permissions"
            ) from error
    if token is None:
        return b""
    if not (_SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN and token.isascii()):
        raise SourceError(
            f"{options.name}: the token must be {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} ASCII "
            "characters; `openssl rand -hex 24` makes one"
        )
    return token.encode()
