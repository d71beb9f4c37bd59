"""Who may connect to the OPC UA server, and its certificates."""

from __future__ import annotations

import asyncio
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.uacrypto import load_certificate
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from edge.plc.opcua.bridge import OpcuaBridge
from edge.plc.opcua.certificates import Clients, load_or_make_identity
from edge.plc.opcua.nodes import NAMESPACE
from edge.plc.opcua.section import OpcuaSection
from edge.plc.station.messages import Answer, Job, Recipe, StationOptions
from edge.plc.station.snapshot import ResultEvaluation, StationError
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

URI = "urn:tests:plc"
PASSWORD = "größer als null"


class Good:
    """Judges every part as good."""

    def load(self, recipe_id: int, progress: object) -> Recipe:
        return Recipe(recipe_id, simulated=True)

    def inspect(self, job: Job) -> Answer:
        return Answer(job.seq, ResultEvaluation.OK, score=0.25, acquired_at_ns=time.time_ns())

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Own:
    """A client's certificate and key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Served:
    """A server and the folder of its certificates."""

    url: str
    pki: Path

    @property
    def certificate(self) -> Path:
        return self.pki / "own" / "certificate.der"


def client_certificate(folder: Path) -> Own:
    own = Own(folder / "client.der", folder / "client.pem")
    asyncio.run(
        setup_self_signed_certificate(
            *(own.key, own.certificate, URI, socket.gethostname()),
            [ExtendedKeyUsageOID.CLIENT_AUTH],
            {"organizationName": "tests"},
        )
    )
    return own


def section(pki: Path, **more: object) -> OpcuaSection:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return OpcuaSection.model_validate({"port": port, "pki": pki, **more})


@pytest.fixture(scope="module")
def station() -> Iterator[Station]:
    with Station(ThreadWorker(Good()), options=StationOptions(name="flange")) as station:
        station.wait_ready(10)
        yield station


@pytest.fixture(scope="module")
def served(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server as it is unless told otherwise, with a user; anonymous is let in as well."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    told = section(folder / "pki", user="line3", password_file=folder / "password", anonymous=True)
    with OpcuaBridge(station, told) as bridge:
        yield Served(bridge.url, folder / "pki")


@pytest.fixture(scope="module")
def trusted(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Own:
    """A client that the server trusts."""
    own = client_certificate(tmp_path_factory.mktemp("trusted"))
    shutil.copy(own.certificate, served.pki / "trusted" / "plc.der")
    return own


async def inspected(client: Client) -> list[object]:
    """Connect, inspect one part, go."""
    client.application_uri = URI
    client.session_timeout = 60_000
    async with client:
        index = await client.get_namespace_index(NAMESPACE)
        answer: list[object] = await client.get_node(f"ns={index};s=flange").call_method(
            ua.NodeId("flange.Inspect", index),
            *(ua.Variant(7, ua.VariantType.UInt16), ua.Variant(8, ua.VariantType.UInt32)),
            ua.Variant(0, ua.VariantType.UInt32),
        )
        return answer


def attempt(
    served: Served,
    own: Own,
    *,
    policy: str = "Basic256Sha256",
    user: str | None = None,
    password: str = "",
) -> list[object]:
    async def run() -> list[object]:
        client = Client(served.url)
        if user is not None:
            client.set_user(user)
            client.set_password(password)
        await client.set_security_string(
            f"{policy},SignAndEncrypt,{own.certificate},{own.key},{served.certificate}"
        )
        return await inspected(client)

    return asyncio.run(run())


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"])
def test_a_trusted_client_with_the_password_inspects(
    served: Served, trusted: Own, policy: str
) -> None:
    answer = attempt(served, trusted, policy=policy, user="line3", password=PASSWORD)
    assert answer[1:] == [7, 8, 1, 0, 0.25]


@pytest.mark.parametrize(("user", "password"), [("line3", "wrong"), ("line3", ""), ("admin", "x")])
def test_a_wrong_name_or_password_is_refused(
    served: Served, trusted: Own, user: str, password: str
) -> None:
    with pytest.raises(ua.uaerrors.BadUserAccessDenied):
        attempt(served, trusted, user=user, password=password)


def test_anonymous_is_let_in_by_flag_and_only_encrypted(served: Served, trusted: Own) -> None:
    assert attempt(served, trusted)[1:3] == [7, 8]

    async def plain() -> list[object]:
        return await inspected(Client(served.url))

    with pytest.raises((ua.UaError, ConnectionError, asyncio.TimeoutError)):
        asyncio.run(plain())


def test_a_channel_that_no_endpoint_offers_gives_no_session(served: Served) -> None:
    """asyncua itself opens an unencrypted one to whoever does not ask for the endpoints."""

    async def run() -> None:
        client = Client(served.url)
        client.session_timeout = 60_000
        await client.connect_socket()
        try:
            await client.send_hello()
            await client.open_secure_channel()
            parameters = ua.CreateSessionParameters()
            parameters.ClientNonce = bytes(32)
            parameters.EndpointUrl = served.url
            parameters.RequestedSessionTimeout = 60_000
            await client.uaclient.create_session(parameters)
            identity = ua.ActivateSessionParameters()
            identity.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await client.uaclient.activate_session(identity)
        finally:
            client.disconnect_socket()

    asyncio.run(run())


def test_an_unknown_certificate_is_kept_and_let_in_when_it_is_moved(
    served: Served, tmp_path: Path
) -> None:
    own = client_certificate(tmp_path)
    with pytest.raises(ua.uaerrors.BadCertificateUntrusted):
        attempt(served, own, user="line3", password=PASSWORD)
    (kept,) = (served.pki / "rejected").iterdir()
    assert kept.read_bytes() == own.certificate.read_bytes()
    kept.rename(served.pki / "trusted" / kept.name)
    assert attempt(served, own, user="line3", password=PASSWORD)[1:3] == [7, 8]


def test_the_session_cannot_be_another_certificates_than_the_channel(
    served: Served, trusted: Own, tmp_path: Path
) -> None:
    """The channel by a stranger, the session in the name of a trusted client."""
    stranger = client_certificate(tmp_path)

    async def run() -> None:
        client = Client(served.url)
        client.set_user("line3")
        client.set_password(PASSWORD)
        await client.set_security_string(
            f"Basic256Sha256,SignAndEncrypt,{stranger.certificate},{stranger.key},"
            f"{served.certificate}"
        )
        borrowed = await load_certificate(trusted.certificate)
        original = client.uaclient.create_session

        async def forged(parameters: ua.CreateSessionParameters) -> ua.CreateSessionResult:
            parameters.ClientCertificate = borrowed.public_bytes(serialization.Encoding.DER)
            return await original(parameters)

        client.uaclient.create_session = forged
        await inspected(client)

    with pytest.raises(ua.UaError):
        asyncio.run(run())


def test_certificates_are_made_once_and_the_key_is_the_owners(tmp_path: Path) -> None:
    first = load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")
    content = first.certificate.read_bytes(), first.key.read_bytes()
    assert stat.S_IMODE(first.key.stat().st_mode) == 0o600
    own = x509.load_der_x509_certificate(content[0])
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [first.uri]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert (own.not_valid_after_utc - own.not_valid_before_utc).days > 3000
    again = load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")
    assert again == first
    assert (again.certificate.read_bytes(), again.key.read_bytes()) == content


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    own = load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    own.key.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(StationError, match="not that of the key; remove"):
        load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")


@pytest.mark.parametrize("broken", ["certificate", "key"])
def test_a_broken_or_missing_file_says_what_to_do(tmp_path: Path, broken: str) -> None:
    own = load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")
    path: Path = getattr(own, broken)
    path.write_bytes(b"nothing")
    with pytest.raises(StationError, match=r"remove .* to have both made anew"):
        load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")
    path.unlink()
    with pytest.raises(StationError, match="No such file"):
        load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")


def test_a_folder_that_cannot_be_written_says_so(read_only: Path) -> None:
    with pytest.raises(StationError, match=r"Permission denied; name a folder in opcua\.pki"):
        load_or_make_identity(read_only / "pki", station="flange", host="127.0.0.1")


def test_strangers_cannot_fill_the_disk(tmp_path: Path) -> None:
    own = load_or_make_identity(tmp_path, station="flange", host="127.0.0.1")
    for number in range(40):
        (tmp_path / "rejected" / f"{number}.der").write_bytes(b"")
    (tmp_path / "trusted" / "readme.txt").write_text("not a certificate")
    clients = Clients(tmp_path, everyone=False)
    assert not clients.admits(x509.load_der_x509_certificate(own.certificate.read_bytes()))
    assert len(list((tmp_path / "rejected").iterdir())) == 40
    assert Clients(tmp_path, everyone=True).admits(
        x509.load_der_x509_certificate(own.certificate.read_bytes())
    )


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({}, "nobody may connect"),
        ({"user": "line3"}, "belong together"),
        ({"password_file": "password"}, "belong together"),
        ({"plain": True}, "nobody may connect"),
        ({"anonymous": True, "port": 0}, "greater than or equal to 1"),
        ({"anonymous": True, "policy": "None"}, "not permitted"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(told: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        OpcuaSection.model_validate(told)


def test_a_missing_or_empty_password_is_refused(station: Station, tmp_path: Path) -> None:
    told = section(tmp_path / "pki", user="line3", password_file=tmp_path / "password")
    with pytest.raises(StationError, match=r"password: No such file .*; write the password"):
        OpcuaBridge(station, told)
    (tmp_path / "password").write_text("\n")
    with pytest.raises(StationError, match="empty"):
        OpcuaBridge(station, told)
