"""paho's MQTT client as the section of ``edge.toml`` wants it."""

from __future__ import annotations

import socket
import ssl

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge.plc.mqtt.section import MqttSection
from edge.plc.mqtt.topics import OFFLINE, Topics
from edge.plc.password import read_password
from edge.plc.station.snapshot import StationError
from process.plain_files import MAX_TEXT_BYTES, check_plain

CONNECT_WITHIN_S = 5.0


def client_from_section(section: MqttSection, topics: Topics, *, boot_id: int) -> Client:
    """Return a client that knows its broker, but is not yet connected.

    Args:
        section: of ``edge.toml``.
        topics: of the station.
        boot_id: of the station; part of the client's name, which is no other's then.

    Raises:
        StationError: a certificate, key or password cannot be read.
    """
    # Two clients of one name end each other's connections for ever. The last will of a session
    # that is still open after a kill comes late: the bridge corrects it.
    own = f"{topics.root.replace('/', '-')}-{socket.gethostname()}-{boot_id}"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=section.client_id or own,
        protocol=MQTTv5 if section.version == "5" else MQTTv311,
    )
    client.connect_timeout = CONNECT_WITHIN_S
    if section.user is not None:
        path = section.password_file
        password = read_password(path, bridge="mqtt", user=section.user) if path else None
        client.username_pw_set(section.user, password)
    if not section.plain:
        client.tls_set_context(_tls_context(section))
    client.will_set(topics.availability, OFFLINE, qos=1, retain=True)
    client.connect_async(section.host, section.broker_port, keepalive=section.keepalive_s)
    return client


def connection_problem(error: OSError) -> str:
    """Return in words why a connection could not be opened."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate: {error.verify_message}; check mqtt.ca and mqtt.host"
    if isinstance(error, TimeoutError):
        return "no answer"
    return error.strerror or str(error)


class _SelfClosingSocket(ssl.SSLSocket):
    """A socket that is closed when the broker cannot be trusted; paho leaves it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _tls_context(section: MqttSection) -> ssl.SSLContext:
    """How to encrypt; the broker's certificate and name are always checked."""
    files = [path for path in (section.ca, section.certificate, section.key) if path]
    try:
        for path in files:  # the library would wait for a pipe
            check_plain(path.stat(), path, max_bytes=MAX_TEXT_BYTES)
        context = ssl.create_default_context(cafile=section.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _SelfClosingSocket
        if section.certificate is not None:
            context.load_cert_chain(section.certificate, section.key)
    except OSError as error:  # SSLError is one
        raise StationError(
            f"mqtt: {', '.join(map(str, files))}: {error.strerror or error}; they must be PEM "
            "files that can be read, the key without a password"
        ) from error
    return context
