"""The MQTT bridge: publishes a station's results, from a thread of its own."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cameras.closing import Closing
from edge.plc.mqtt.section import MqttSection
from edge.plc.mqtt.topics import Delivery, Topics
from edge.plc.password import read_password
from edge.plc.station import Port, StationError

if TYPE_CHECKING:
    from edge.plc.mqtt.publisher import Publisher


class MqttBridge(Closing):
    """Publishes a station's results from its birth until it is closed.

    A broker that is away is no error: results wait, up to a bound, until it is back.

    Args:
        port: the station.
        section: where to and how.

    Raises:
        StationError: a certificate, key or password cannot be read, the station's name cannot be
            part of a topic, or paho-mqtt is not installed.
    """

    def __init__(self, port: Port, section: MqttSection) -> None:
        self._section = section
        self._publisher = _publisher(port, section)

    @property
    def where(self) -> str:
        """Its address, for the log."""
        section = self._section
        scheme = "mqtt" if section.plain else "mqtts"
        return f"mqtt {scheme}://{section.host}:{section.broker_port}"

    @property
    def delivery(self) -> Delivery:
        """What became of the results so far."""
        return self._publisher.delivery

    def close(self) -> None:
        """Send what waits if the broker is there, say goodbye; a second call does nothing."""
        self._publisher.close()


def open_bridge(port: Port, section: MqttSection) -> MqttBridge:
    """Open the bridge: it publishes until it is closed. Errors: see `MqttBridge`."""
    return MqttBridge(port, section)


def _publisher(port: Port, section: MqttSection) -> Publisher:
    try:
        from edge.plc.mqtt.publisher import Publisher
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "paho":
            raise
        raise StationError(
            "mqtt: paho-mqtt is not installed; pip install 'protoedge[plc]'"
        ) from error
    try:
        topics = Topics(section.topic_root(port.snapshot().station))
    except ValueError as error:
        raise StationError(f"mqtt: {error}, or set mqtt.station") from error
    path = section.password_file
    password = read_password(path, bridge="mqtt", user=section.user) if path else None
    return Publisher(port, section, topics=topics, password=password, tls=_tls(section))


class _ClosedOnFailure(ssl.SSLSocket):
    """A socket that is closed when the broker cannot be trusted; paho leaves it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _tls(section: MqttSection) -> ssl.SSLContext | None:
    """How to encrypt; the broker's certificate and name are always checked."""
    if section.plain:
        return None
    try:
        context = ssl.create_default_context(cafile=section.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _ClosedOnFailure
        if section.certificate is not None:
            context.load_cert_chain(section.certificate, section.key)
    except OSError as error:  # SSLError is one
        names = [str(path) for path in (section.ca, section.certificate, section.key) if path]
        raise StationError(
            f"mqtt: {', '.join(names)}: {error.strerror or error}; they must be PEM files that "
            "can be read, the key without a password"
        ) from error
    return context
