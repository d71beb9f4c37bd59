"""The section ``[mqtt]`` of ``edge.toml``; needs no MQTT library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from edge.fields import Host, OptionsModel, setting

TLS_PORT, PLAIN_PORT = 8883, 1883
MAX_UNDER_WAY = 16
"""Results sent and not yet acknowledged; brokers take 20 unless told otherwise."""
MIN_QUEUE = MAX_UNDER_WAY + 1
"""So that in a full queue one always waits, which can be dropped."""
MAX_LEVEL = 200
"""Characters; a topic has at most 65 535 bytes."""
Period: TypeAlias = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]  # s


class MqttSection(OptionsModel):
    """Which broker the MQTT bridge publishes to, and how."""

    host: Host = setting("localhost", "Name or address of the broker.")
    port: Annotated[int | None, Field(ge=1, le=65535)] = setting(
        None, "TCP port.", unset="8883, or 1883 with `plain`", example=8883
    )
    plain: bool = setting(
        False,
        "Connect without TLS: names, passwords and results can be read and forged on the way.",
    )
    ca: Path | None = setting(
        None,
        "PEM file of the authority that signed the broker's certificate.",
        unset="the system's authorities",
        example="ca.pem",
    )
    certificate: Path | None = setting(
        None,
        "PEM file of this client's certificate, where the broker wants one.",
        example="client.pem",
    )
    key: Path | None = setting(
        None, "PEM file of the key of this client's certificate.", example="client.key"
    )
    user: str | None = setting(None, "Name that the broker wants.", example="line3")
    password_file: Path | None = setting(
        None, "File whose first line is that user's password.", example="mqtt.password"
    )
    prefix: str = setting("protoedge", "First level of every topic.")
    site: str = setting("site", "Second level of every topic.")
    line: str = setting("line", "Third level of every topic.")
    station: str | None = setting(
        None, "Fourth level of every topic.", unset="the station's name", example="press7"
    )
    client_id: Annotated[str | None, Field(min_length=1)] = setting(
        None,
        "Name of this client, which no other client of the broker may have.",
        unset="the topic's levels, this machine's name and the boot_id",
        example="press7",
    )
    version: Literal["5", "3.1.1"] = setting("5", "Version of MQTT; 3.1.1 knows no expiry.")
    keepalive_s: Annotated[int, Field(ge=1, le=3600)] = setting(
        5, "The broker takes a silent bridge for dead after one and a half of these."
    )
    queue: Annotated[int, Field(ge=MIN_QUEUE, le=1000000)] = setting(
        1000, "Results kept while the broker is away; the oldest are dropped and counted."
    )
    expiry_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = setting(
        3600.0, "Results older than this are dropped, here and by the broker; 0 keeps them."
    )
    heartbeat_s: Period = setting(1.0, "Seconds between two heartbeats.")
    stats_s: Period = setting(10.0, "Seconds between two statistics.")

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        try:
            host.encode("idna")  # as the system's resolver does, in a thread that nobody watches
        except UnicodeError:
            host = ""
        if not host.isprintable() or not host.strip():
            raise ValueError("not a host name; write a name or an IP address")
        return host

    @model_validator(mode="after")
    def _check_what_belongs_together(self) -> MqttSection:
        if self.password_file is not None and self.user is None:
            raise ValueError("password_file without user; give both")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; give both")
        if self.plain and (self.ca or self.certificate):
            raise ValueError("plain = true uses no certificate; leave out one of the two")
        self.topic_root("station")
        if self.client_id is not None and not self.client_id.isprintable():
            raise ValueError("client_id: not printable; use letters, digits, - and _")
        return self

    @property
    def broker_port(self) -> int:
        """The TCP port."""
        return self.port or (PLAIN_PORT if self.plain else TLS_PORT)

    def topic_root(self, station: str) -> str:
        """Return the levels that all topics of a station begin with.

        Raises:
            ValueError: a level that cannot be part of a topic.
        """
        return topic_from_levels(self.prefix, self.site, self.line, self.station or station)


def topic_from_levels(*levels: str) -> str:
    """Join the levels of a topic.

    Raises:
        ValueError: a level is empty, too long or has a character that means something in MQTT.
    """
    for level in levels:
        is_plain = level.isprintable() and not any(char in "+#/" for char in level)
        if not is_plain or not 0 < len(level) <= MAX_LEVEL:
            raise ValueError(f"{level!r} cannot be part of a topic; use letters, digits, - and _")
        if level.startswith("$"):
            raise ValueError(f"{level!r}: topics with $ belong to the broker; rename it")
    return "/".join(levels)
