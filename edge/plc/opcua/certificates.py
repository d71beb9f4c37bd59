"""Certificates of the OPC UA server: its own, made on the first start, and those of its clients.

A folder in the layout that OPC UA products share: ``own/`` holds the server's certificate and key,
``trusted/`` the certificates of the clients that may connect, ``rejected/`` those that tried.
Moving a file from ``rejected/`` to ``trusted/`` lets that client in, without a restart.
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path

from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_self_signed_app_certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.plc.station.snapshot import StationError
from process.plain_files import MAX_TEXT_BYTES, read_plain_file

_log = logging.getLogger("edge.plc.opcua")
_DAYS = 3650
_KEY_BITS = 2048  # what every one of the offered policies allows
_MAX_REJECTED = 32  # files; a stranger must not fill the disk
_ANY_HOST = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Identity:
    """The server's own certificate.

    Attributes:
        certificate: DER file, to be trusted by the clients.
        key: PEM file, readable for its owner alone.
        uri: the application's URI, which the certificate names.
    """

    certificate: Path
    key: Path
    uri: str


def load_or_make_identity(folder: Path, *, station: str, host: str) -> Identity:
    """Return the server's identity; at the first start, make it.

    Args:
        folder: of all certificates; made when it is not there.
        station: becomes part of the application's URI.
        host: the address that it listens on; the certificate names it beside the machine's name.

    Raises:
        StationError: one of the two files is missing, unreadable or no longer valid, or they
            cannot be written.
    """
    certificate, key = folder / "own" / "certificate.der", folder / "own" / "key.pem"
    try:
        for name in ("own", "trusted", "rejected"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if not certificate.exists() and not key.exists():
            _make(certificate, key, station=station, host=host)
        return Identity(certificate, key, _uri(certificate, key))
    except OSError as error:
        raise StationError(
            f"opcua: {error.filename or folder}: {error.strerror or error}; "
            "name a folder in opcua.pki that can be written and read"
        ) from error


class Clients:
    """Knows which client certificates are trusted.

    Each is looked up by its own bytes: an authority's signature lets nobody in.

    Args:
        folder: of all certificates.
        everyone: take any certificate; the user's name and password are what counts.
    """

    def __init__(self, folder: Path, *, everyone: bool) -> None:
        self._trusted = folder / "trusted"
        self._rejected = folder / "rejected"
        self._everyone = everyone

    def admits(self, certificate: x509.Certificate) -> bool:
        """Tell whether a client may connect; one that may not is kept in ``rejected/``."""
        if self._everyone or _fingerprint(certificate) in self._trusted_fingerprints():
            return True
        self._keep(certificate)
        return False

    def _trusted_fingerprints(self) -> set[str]:
        found = set()
        for path in sorted(self._trusted.iterdir()):
            try:
                found.add(_fingerprint(_read_certificate(path)))
            except (OSError, ValueError) as error:
                _log.warning("%s: no certificate, left out: %s", path, error)
        return found

    def _keep(self, certificate: x509.Certificate) -> None:
        path = self._rejected / f"{_fingerprint(certificate)}.der"
        _log.warning(
            "opcua: the certificate of %s is not trusted; to let it in, move %s to %s",
            *(printable_subject(certificate), path, self._trusted),
        )
        try:
            if not path.exists() and sum(1 for _ in self._rejected.iterdir()) < _MAX_REJECTED:
                path.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
        except OSError as error:
            _log.warning("opcua: %s: cannot be kept: %s", path, error.strerror or error)


def _make(certificate: Path, key: Path, *, station: str, host: str) -> None:
    machine = socket.gethostname()
    private = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    made = generate_self_signed_app_certificate(
        private,
        f"protoedge {station}"[:64],  # the most that a common name may have
        {"organizationName": "protoedge"},
        _names(f"urn:{machine}:protoedge:{station}", machine, host),
        extended=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        days=_DAYS,
    )
    # The key first: a certificate without a key would have to be told to the clients in vain.
    _write(key, dump_private_key_as_pem(private), mode=0o600)
    _write(certificate, made.public_bytes(serialization.Encoding.DER), mode=0o644)
    _log.warning("opcua: made %s; the clients must trust it", certificate)


def _names(uri: str, machine: str, host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), x509.DNSName(machine)]
    if machine != "localhost":
        names.append(x509.DNSName("localhost"))
    try:
        names.append(x509.IPAddress(ip_address("127.0.0.1" if host in _ANY_HOST else host)))
    except ValueError:
        if host not in (machine, "localhost"):
            names.append(x509.DNSName(host))
    return names


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that is complete from the moment it has its name."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _uri(certificate: Path, key: Path) -> str:
    again = f"remove {certificate} and {key} to have both made anew, and trust it in the clients"
    try:
        own = _read_certificate(certificate)
        secret = read_plain_file(key, max_bytes=MAX_TEXT_BYTES)
        private = serialization.load_pem_private_key(secret, password=None)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uri: str = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    except (ValueError, TypeError, IndexError, x509.ExtensionNotFound) as error:
        raise StationError(f"opcua: own certificate or key: {error}; {again}") from error
    if private.public_key() != own.public_key():
        raise StationError(f"opcua: the certificate is not that of the key; {again}")
    if own.not_valid_after_utc < datetime.now(timezone.utc):
        until = own.not_valid_after_utc.date()
        raise StationError(f"opcua: {certificate}: expired on {until}; {again}")
    return uri


def _read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate, PEM or DER.

    Raises:
        OSError: not a plain file that can be read.
        ValueError: neither.
    """
    content = read_plain_file(path, max_bytes=MAX_TEXT_BYTES)
    if content.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def printable_subject(certificate: x509.Certificate) -> str:
    """The subject, in printable characters: a stranger wrote it."""
    return repr(certificate.subject.rfc4514_string())[:120]
