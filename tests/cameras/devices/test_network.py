"""Options of network cameras, with real servers: certificates, transports, users."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from cameras.connect import open_source
from cameras.demux.opening import OpenError, open_container
from cameras.devices.network_camera import NetworkDevice
from cameras.devices.raw_password import encode_raw_password
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


def test_the_file_of_an_authority_may_begin_at_home(secure, monkeypatch) -> None:
    camera, path = secure
    monkeypatch.setenv("HOME", str(path.parent))
    address = f"https://127.0.0.1:{camera.port}/video#ca=~/{path.name}"
    assert first_picture(address).shape == (240, 320, 3)


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


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("rtsp://op:a#b@h/1", "rtsp://op:a%23b@h/1"),
        ("rtsp://op:1#b@h/1", "rtsp://op:1%23b@h/1"),
        ("rtsp://op:a/b?c@d@h:554/1", "rtsp://op:a%2Fb%3Fc%40d@h:554/1"),
        ("rtsp://op:%2Fa#b%@[::1]/1", "rtsp://op:%2Fa%23b%25@[::1]/1"),
        ("rtsp://op:a@b@h/1", "rtsp://op:a@b@h/1"),  # FFmpeg takes the last one, too
        ("rtsp://op:a%23b@h/1", "rtsp://op:a%23b@h/1"),
        ("http://h:80/user@x?mail=a@b", "http://h:80/user@x?mail=a@b"),
        ("http://h/1", "http://h/1"),
    ],
)
def test_what_no_host_can_be_is_a_password(written, sent) -> None:
    assert encode_raw_password(written) == sent


@pytest.fixture(scope="module")
def odd_server():
    """A web server that answers with the status in its path, or with something odd."""
    with ThreadingHTTPServer(("127.0.0.1", 0), OddHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


JPEG = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
PART = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n--frame\r\n"
ODD = {
    "login": ("text/html", b"<!doctype html><html><body>Log in</body></html>"),
    "json": ("application/json", b"{}"),
    "one": ("image/jpeg", JPEG),
    "late": ("multipart/x-mixed-replace; boundary=frame", PART % (len(JPEG), JPEG) * 3),
}


class OddHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        what, _, has_length = self.path[1:].partition("/")
        if (authority := self.headers.get("Authorization")) is not None:
            _, _, given = authority.partition(" ")
            what = "one" if base64.b64decode(given) == f"op:{SECRET}#/?@".encode() else "403"
        elif what == "private":
            what = "401"
        kind, body = ODD.get(what, ("text/plain", b""))
        self.send_response(int(what) if what.isdigit() else 200 if body else 302)
        self.send_header("Content-Type", kind)
        if what == "401":
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        if not body or has_length:
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "/loop")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("login", "no video, but something else, such as a login page"),
        ("login/long", "no video, but something else, such as a login page"),
        ("json", "no video, but something else"),
        ("late", "MJPEG that does not begin with a boundary"),
        ("loop", "redirects from one address to the next, without an end"),
        *((str(status), f"answers with status {status}") for status in (401, 403, 404, 405, 503)),
    ],
)
def test_what_a_web_server_sends_instead_is_told(odd_server, path, words) -> None:
    with pytest.raises(OpenError, match=words):
        open_container(f"http://127.0.0.1:{odd_server}/{path}", {}, open_s=5, read_s=5)


@pytest.mark.parametrize("path", ["one", "one/long"])
def test_one_picture_is_no_stream(odd_server, path) -> None:
    camera = NetworkDevice(f"http://127.0.0.1:{odd_server}/{path}", (), 5, 5).open()
    try:
        assert camera.grab()
        assert not camera.grab()
        assert camera.trouble == "sends one picture, and no stream"
    finally:
        camera.close()


def test_a_raw_password_reaches_the_camera_as_it_is(odd_server) -> None:
    address = encode_raw_password(f"http://op:{SECRET}#/?@@127.0.0.1:{odd_server}/private")
    container = open_container(address, {}, open_s=5, read_s=5)
    assert container.streams.video
    container.close()
