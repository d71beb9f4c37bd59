"""The MQTT publisher and a broker (mosquitto) with TLS, names and passwords."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from authority import Authority, authority
from mosquitto import ABSENT, ROOT, Broker, listening, until
from publishing import inspect

from edge.plc.mqtt.bridge import MqttBridge
from edge.plc.mqtt.section import MqttSection
from edge.plc.station.snapshot import StationError
from edge.plc.station.station import Station

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
PASSWORD = "größer als null"


@dataclass(frozen=True)
class Secured:
    broker: Broker
    own: Authority
    password_file: Path

    def section(self, **more: object) -> MqttSection:
        return MqttSection.model_validate(
            {
                "host": "127.0.0.1",
                "port": self.broker.port,
                "ca": self.own.ca,
                "user": "line3",
                "password_file": self.password_file,
                **more,
            }
        )


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """A broker with TLS that wants a name and a password."""
    folder = tmp_path / "broker"
    folder.mkdir()
    own = authority(folder, name="broker")
    passwords = folder / "passwords"
    passwords.touch(0o600)
    command = ["mosquitto_passwd", "-b", str(passwords), "line3", PASSWORD]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    lines = (
        f"cafile {own.ca}",
        f"certfile {own.certificate}",
        f"keyfile {own.key}",
        "allow_anonymous false",
        f"password_file {passwords}",
    )
    broker = Broker(folder, lines)
    broker.start()
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    yield Secured(broker, own, tmp_path / "password")
    broker.kill()


def test_encrypted_with_a_password(station: Station, secured: Secured, tmp_path: Path) -> None:
    words = ("--cafile", str(secured.own.ca), "-u", "line3", "-P", PASSWORD)
    with (
        MqttBridge(station, secured.section()) as bridge,
        listening(secured.broker, tmp_path, *words) as heard,
    ):
        assert bridge.where == f"mqtt mqtts://127.0.0.1:{secured.broker.port}"
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        inspect(station, range(100))
        until(lambda: len(heard.parts()) >= 100, "not delivered")
        secured.broker.kill()
        inspect(station, range(100, 200))
        secured.broker.start()
        # What the listener hears of it is between the broker and the listener.
        until(lambda: bridge.delivery.delivered >= 200, "not delivered after the restart")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"user": "line4"}, "refused: Not authorized"),
        ({"user": None, "password_file": None}, "refused: Not authorized"),
        ({"host": "localhost"}, "certificate.*check mqtt.ca and mqtt.host"),
        ({"ca": None}, "certificate.*check mqtt.ca and mqtt.host"),
        ({"plain": True, "ca": None}, "connection lost|Protocol|Connection reset"),
    ],
)
def test_a_broker_that_is_not_the_right_one_or_does_not_know_us(
    station: Station,
    secured: Secured,
    caplog: pytest.LogCaptureFixture,
    more: dict[str, object],
    problem: str,
) -> None:

    with MqttBridge(station, secured.section(**more)) as bridge:
        inspect(station, range(1))
        until(lambda: re.search(problem, caplog.text) is not None, caplog.text)
        assert bridge.delivery.delivered == 0
    assert PASSWORD not in caplog.text


def test_a_clients_certificate(station: Station, tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    own, client = authority(folder, name="broker"), authority(folder, name="client")
    lines = (
        f"cafile {client.ca}",
        f"certfile {own.certificate}",
        f"keyfile {own.key}",
        "require_certificate true",
        "use_identity_as_username true",
    )
    broker = Broker(folder, lines)
    broker.start()
    section = MqttSection(
        host="127.0.0.1",
        port=broker.port,
        ca=own.ca,
        certificate=client.certificate,
        key=client.key,
    )
    try:
        with MqttBridge(station, section) as bridge:
            inspect(station, range(5))
            until(lambda: bridge.delivery.delivered == 5, "not delivered")
    finally:
        broker.kill()


def test_files_that_cannot_be_used_are_named(station: Station, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(StationError, match=r"ca\.pem.*must be PEM files"):
        MqttBridge(station, MqttSection(ca=tmp_path / "ca.pem"))
    section = MqttSection(user="line3", password_file=tmp_path / "absent")
    with pytest.raises(StationError, match=r"absent: No such file.*write the password"):
        MqttBridge(station, section)
