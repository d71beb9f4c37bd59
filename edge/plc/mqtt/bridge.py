"""The MQTT bridge: publishes a station's results, from a thread of its own."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cameras.closing import Closing
from edge.plc.mqtt.outbox import FEWEST
from edge.plc.mqtt.topics import Delivery, Topics, map_rows, topics_from_levels
from edge.plc.station import Port, StationError

if TYPE_CHECKING:
    from edge.plc.mqtt.publisher import Publisher

__all__ = ["MqttBridge", "MqttSection", "map_rows", "open_bridge"]

TLS_PORT, PLAIN_PORT = 8883, 1883
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class MqttSection(BaseModel):
    """Where the bridge publishes and how; a section of ``edge.toml``.

    Attributes:
        host: the broker.
        port: None takes 8883, or 1883 when it is plain.
        plain: without TLS: names, passwords and results can be read and forged on the way.
        ca: PEM file of the authority that signed the broker's certificate; None takes the system's.
        certificate: PEM file of this client's certificate, where the broker wants one.
        key: PEM file of its key.
        user: name that the broker wants.
        password_file: file whose first line is that user's password.
        prefix: first level of every topic.
        site: second level.
        line: third level.
        station: fourth level; None takes the station's name.
        client_id: None makes one of the levels; each client of a broker must have another.
        version: of MQTT; 3.1.1 knows no expiry.
        keepalive_s: the broker takes a silent bridge for dead after one and a half of these.
        queue: results kept while the broker is away; the oldest are dropped and counted.
        expiry_s: results older than this are dropped, here and by the broker; 0 keeps them.
        heartbeat_s: between heartbeats.
        stats_s: between statistics.
        discovery: tell Home Assistant what there is.
        discovery_prefix: where it listens for that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    plain: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    prefix: str = "protoedge"
    site: str = "site"
    line: str = "line"
    station: str | None = None
    client_id: Annotated[str, Field(min_length=1)] | None = None
    version: Literal["5", "3.1.1"] = "5"
    keepalive_s: Annotated[int, Field(ge=1, le=3600)] = 5
    queue: Annotated[int, Field(ge=FEWEST, le=1_000_000)] = 1000
    expiry_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3600.0
    heartbeat_s: Seconds = 1.0
    stats_s: Seconds = 10.0
    discovery: bool = False
    discovery_prefix: str = "homeassistant"

    @model_validator(mode="after")
    def _belongs_together(self) -> MqttSection:
        if self.password_file is not None and self.user is None:
            raise ValueError("password_file without user; give both")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; give both")
        if self.plain and (self.ca or self.certificate):
            raise ValueError("plain = true uses no certificate; leave out one of the two")
        self.topics_of("station")
        return self

    @property
    def broker_port(self) -> int:
        """The TCP port."""
        return self.port or (PLAIN_PORT if self.plain else TLS_PORT)

    def topics_of(self, station: str) -> Topics:
        """Return the topics of a station.

        Raises:
            ValueError: a level that cannot be part of a topic.
        """
        return topics_from_levels(self.prefix, self.site, self.line, self.station or station)


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
        topics = section.topics_of(port.snapshot().station)
    except ValueError as error:
        raise StationError(f"mqtt: {error}, or set mqtt.station") from error
    return Publisher(port, section, topics=topics, password=_password(section), tls=_tls(section))


def _password(section: MqttSection) -> str | None:
    """Read the password: a file, since what is in ``edge.toml`` ends up in backups and tickets."""
    if section.password_file is None:
        return None
    try:
        lines = section.password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StationError(
            f"mqtt: {section.password_file}: {reason}; write the password of "
            f"{section.user} into it, one line"
        ) from error
    if not lines or not lines[0]:
        raise StationError(f"mqtt: {section.password_file}: empty; write the password into it")
    return lines[0]


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
