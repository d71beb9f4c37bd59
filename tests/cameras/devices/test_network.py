"""Options of network cameras, with real servers: certificates, transports, users."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest

from cameras.connect import open_source
from cameras.errors import CameraError

SECRET = "Zq9secret"
NOW = datetime.datetime.now(datetime.timezone.utc)


def certificate(folder: Path, name: str, host: str) -> Path:
    """A self-signed certificate with its key, PEM."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secure(servers, tmp_path):
    """A camera that speaks HTTPS, and its certificate."""
    path = certificate(tmp_path, "camera", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with servers.Camera(servers.MjpegHandler) as camera:
        plain = camera._server.get_request

        def get_request():
            connection, address = plain()
            connection.settimeout(10)
            return context.wrap_socket(connection, server_side=True), address

        camera._server.get_request = get_request
        yield camera, path


def first_picture(address: str):
    with open_source(address, open_timeout=10, stall_after=10) as source:
        assert SECRET not in source.name
        return next(frame.image for frame in source if frame.image is not None)


def test_a_camera_with_the_right_certificate_delivers(secure) -> None:
    camera, path = secure
    address = f"https://op:{SECRET}@127.0.0.1:{camera.port}/video"
    assert first_picture(f"{address}#ca={path}").shape == (240, 320, 3)


def test_a_camera_with_another_certificate_is_refused(secure, tmp_path, capfd) -> None:
    camera, _ = secure
    other = certificate(tmp_path, "other", "127.0.0.1")
    with pytest.raises(CameraError, match="does not answer") as caught:
        open_source(f"https://op:{SECRET}@127.0.0.1:{camera.port}/video?x=1#ca={other}")
    assert SECRET not in str(caught.value) + "".join(capfd.readouterr())


def test_tcp_can_be_asked_for_in_words(rtsp) -> None:
    assert first_picture(f"rtsp://127.0.0.1:{rtsp.port}/1#transport=tcp").shape == (240, 320, 3)


def test_udp_is_asked_for_when_it_is_wanted(rtsp) -> None:
    """The test's server knows TCP alone: that it is not used shows that UDP was."""
    with pytest.raises(CameraError, match="sends no video"):
        open_source(f"rtsp://127.0.0.1:{rtsp.port}/1#transport=udp", open_timeout=1.0)
