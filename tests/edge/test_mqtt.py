"""The MQTT publisher with a real broker (mosquitto) and its clients."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.bridges.mqtt import MqttBridge, MqttSection, open_bridge
from edge.station import Box, Evaluation, StationError, StationOptions
from edge.station.jobs import Answer, Job, Recipe
from edge.station.station import Station
from edge.station.thread_worker import ThreadWorker

# Debian has the broker where only root looks.
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(
    not (MOSQUITTO and shutil.which("mosquitto_sub")),
    reason="no mosquitto; apt-get install mosquitto mosquitto-clients",
)
ROOT = "protoedge/site/line/flange"
PASSWORD = "größer als null"


@dataclass
class Scoring:
    """Judges a part by its id: modulo 1000, in thousandths; 500 and above is not OK."""

    def load(self, recipe_id: int) -> Recipe:
        return Recipe(recipe_id, model_hash="ab" * 32, threshold=0.5, simulated=True)

    def inspect(self, job: Job) -> Answer:
        permille = job.part_id % 1000
        bad = permille >= 500
        return Answer(
            job.seq,
            Evaluation.NOT_OK if bad else Evaluation.OK,
            score=permille / 1000,
            defects=int(bad),
            worst=Box(1, 2, 3, 4) if bad else Box(),
            acquired_at_ns=time.time_ns(),
            process_us=1,
        )

    def close(self) -> None:
        pass


@pytest.fixture
def station() -> Iterator[Station]:
    options = StationOptions(name="flange", deadline_ms=5000.0)
    with Station(ThreadWorker(Scoring()), options=options) as station:
        station.wait_ready(10)
        yield station


def inspect(station: Station, parts: range) -> None:
    for part in parts:
        station.wait_ready(10)
        station.inspect(trigger_id=part % 65536, part_id=part)


def told(bridge: MqttBridge, results: int) -> None:
    """Wait until the bridge was given that many: the station tells it in a thread of its own."""
    until(lambda: bridge.delivery.accepted == results, "the bridge was not told")


def until(condition: Callable[[], bool], what: str, *, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@dataclass
class Broker:
    """A mosquitto that can be killed and started again; it keeps what its clients asked for."""

    folder: Path
    lines: tuple[str, ...] = ("allow_anonymous true",)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # It runs as another user, who must be able to read what is in there.
        self.folder.chmod(0o777)
        for folder in self.folder.parents[:3]:
            if folder.name.startswith("pytest-"):
                folder.chmod(0o755)
        config = (
            f"listener {self.port} 127.0.0.1",
            *self.lines,
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 100000",
            f"user {os.environ.get('USER', 'root')}",
        )
        (self.folder / "mosquitto.conf").write_text("\n".join(config) + "\n")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(MOSQUITTO), "-c", str(self.folder / "mosquitto.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._listens, "the broker does not listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder)
    broker.start()
    yield broker
    broker.kill()


@dataclass
class Heard:
    """What mosquitto_sub prints: retained flag, topic and payload of each message."""

    process: subprocess.Popen[bytes]
    path: Path
    topics: list[str] = field(default_factory=list)

    def messages(self, topic: str) -> list[tuple[bool, str]]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        split = [line.split(" ", 2) for line in lines]
        return [(retained == "1", body) for retained, name, body in split if name == topic]

    def json(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.messages(topic)]

    def parts(self) -> list[int]:
        return [result["part_id"] for result in self.json(f"{ROOT}/result")]


@contextmanager
def listening(broker: Broker, folder: Path, *more: str) -> Iterator[Heard]:
    """A subscriber to everything, whose session the broker keeps when either is away."""
    path = folder / "heard.txt"
    with path.open("ab") as out:
        process = subprocess.Popen(
            [
                *("mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-V", "311"),
                *("-c", "-i", "listener", "-q", "1", "-F", "%r %t %p"),
                *(*more, "-t", "#"),
            ],
            stdout=out,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield Heard(process, path)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def heard(broker: Broker, tmp_path: Path) -> Iterator[Heard]:
    with listening(broker, tmp_path) as heard:
        # It is there as soon as it hears something.
        def hears() -> bool:
            publish(broker, "tests/hello", "-m", "hello")
            return bool(heard.messages("tests/hello"))

        until(hears, "the subscriber hears nothing")
        yield heard


def publish(broker: Broker, topic: str, *words: str) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, *words]
    subprocess.run(command, check=True, timeout=20)


def plain(broker: Broker, **more: object) -> MqttSection:
    return MqttSection.model_validate(
        {"host": "127.0.0.1", "port": broker.port, "plain": True, **more}
    )


def delivered(bridge: MqttBridge) -> bool:
    return bridge.delivery.waiting == 0


def test_each_part_is_told_once_and_never_retained(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with open_bridge(station, plain(broker)) as bridge:
        inspect(station, range(400, 600))
        until(lambda: len(heard.parts()) >= 200, "results are missing")
        until(lambda: delivered(bridge), "not acknowledged")
        assert bridge.delivery.delivered == bridge.delivery.accepted == 200
    assert heard.parts() == list(range(400, 600))
    assert not any(retained for retained, _ in heard.messages(f"{ROOT}/result"))
    good, bad = heard.json(f"{ROOT}/result")[99:101]
    assert (good["part_id"], good["decision"], good["evaluation"]) == (499, "PASS", "OK")
    assert (bad["decision"], bad["evaluation"], bad["state"]) == ("REJECT", "NOT_OK", "COMPLETED")
    assert (bad["score"], bad["threshold"], bad["error"], bad["defects"]) == (0.5, 0.5, 0, 1)
    assert bad["worst"] == {"x": 1, "y": 2, "width": 3, "height": 4} and good["worst"] is None
    assert (good["schema"], good["station"], good["trigger_id"]) == (1, "flange", 499)
    assert bad["seq"] == good["seq"] + 1 and bad["boot_id"] == station.snapshot().boot_id


def test_availability_is_retained_and_offline_at_the_end(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with open_bridge(station, plain(broker, heartbeat_s=0.2)):
        until(lambda: len(heard.json(f"{ROOT}/heartbeat")) >= 3, "no heartbeat")
        until(lambda: bool(heard.json(f"{ROOT}/stats")), "no statistics")
    until(lambda: len(heard.messages(f"{ROOT}/availability")) >= 2, "no goodbye")
    assert [body for _, body in heard.messages(f"{ROOT}/availability")] == ["online", "offline"]
    beats = [beat["heartbeat"] for beat in heard.json(f"{ROOT}/heartbeat")]
    assert beats == sorted(set(beats))
    stats = heard.json(f"{ROOT}/stats")[0]
    assert (stats["phase"], stats["fault"], stats["recipe_id"]) == ("ready", False, 1)
    assert stats["counters"]["triggers"] == 0 and stats["mqtt"]["dropped"] == 0
    assert retained(broker, f"{ROOT}/availability") == "offline"


def retained(broker: Broker, topic: str) -> str:
    """What somebody finds who comes only now."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-C", "1", "-W", "5"]
    done = subprocess.run([*command, "-t", topic], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_a_results_topic_has_nothing_for_who_comes_late(station: Station, broker: Broker) -> None:
    with open_bridge(station, plain(broker)) as bridge:
        inspect(station, range(1))
        until(lambda: bridge.delivery.delivered == 1, "not delivered")
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-W", "1"]
        late = subprocess.run(
            [*command, "-t", f"{ROOT}/result"], capture_output=True, text=True, check=False
        )
    assert late.stdout == ""


def test_an_offline_that_sticks_is_corrected(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with open_bridge(station, plain(broker)):
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        publish(broker, f"{ROOT}/availability", "-m", "offline", "-r", "-q", "1")
        until(lambda: len(heard.messages(f"{ROOT}/availability")) >= 3, "not corrected")
        assert retained(broker, f"{ROOT}/availability") == "online"


PUBLISHES = """
import sys, time
sys.path.insert(0, {tests!r})
from test_mqtt import MqttSection, Scoring, Station, StationOptions, ThreadWorker, open_bridge
with Station(ThreadWorker(Scoring()), options=StationOptions(name="flange")) as station:
    station.wait_ready(10)
    section = MqttSection(host="127.0.0.1", port={port}, plain=True, keepalive_s=1)
    with open_bridge(station, section):
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_last_will_of_a_process_that_dies_or_hangs(
    broker: Broker, heard: Heard, number: signal.Signals
) -> None:
    script = PUBLISHES.format(tests=str(Path(__file__).parent), port=broker.port)
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online", within_s=60)
        process.send_signal(number)
        until(lambda: len(heard.messages(f"{ROOT}/availability")) >= 2, "no last will")
    finally:
        process.kill()
        process.wait()
    assert heard.messages(f"{ROOT}/availability")[-1] == (False, "offline")


def test_results_survive_a_broker_that_is_killed(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with open_bridge(station, plain(broker)) as bridge:
        inspect(station, range(50))
        until(lambda: len(heard.parts()) >= 50, "not delivered")
        broker.kill()
        inspect(station, range(50, 250))
        told(bridge, 250)
        assert bridge.delivery.waiting >= 200
        broker.start()
        until(lambda: len(set(heard.parts())) >= 250, "not delivered after the restart")
        until(lambda: delivered(bridge), "not acknowledged")
        counts = bridge.delivery
    assert sorted(set(heard.parts())) == list(range(250))
    assert (counts.delivered, counts.dropped) == (250, 0)
    assert [body for _, body in heard.messages(f"{ROOT}/availability")][-1] == "offline"


def test_what_exceeds_the_bound_is_counted_and_the_newest_are_kept(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with open_bridge(station, plain(broker, queue=50, stats_s=0.5)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        broker.kill()
        inspect(station, range(200))
        told(bridge, 200)
        assert (bridge.delivery.waiting, bridge.delivery.dropped) == (50, 150)
        broker.start()
        until(lambda: len(set(heard.parts())) >= 50, "not delivered after the restart")
        until(lambda: delivered(bridge), "not acknowledged")
        assert (bridge.delivery.delivered, bridge.delivery.dropped) == (50, 150)
        until(lambda: heard.json(f"{ROOT}/stats")[-1]["mqtt"]["dropped"] == 150, "not told")
    # One that was on its way when the broker died is among those that are kept.
    assert len(set(heard.parts()) & set(range(150, 200))) >= 50 - 1


def test_results_that_are_too_old_are_dropped(
    station: Station, broker: Broker, heard: Heard
) -> None:
    with open_bridge(station, plain(broker, expiry_s=0.5)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        broker.kill()
        inspect(station, range(20))
        told(bridge, 20)
        time.sleep(0.6)
        broker.start()
        until(lambda: delivered(bridge), "not given up")
        assert bridge.delivery.dropped + bridge.delivery.delivered == 20
        assert bridge.delivery.dropped >= 19


def test_a_broker_that_hangs_delays_no_inspection(station: Station, broker: Broker) -> None:
    with open_bridge(station, plain(broker, keepalive_s=1)) as bridge:
        inspect(station, range(10))
        until(lambda: bridge.delivery.delivered == 10, "not delivered")
        broker.send(signal.SIGSTOP)
        begun = time.monotonic()
        inspect(station, range(10, 510))
        took = time.monotonic() - begun
        told(bridge, 510)
        assert took < 60
        broker.send(signal.SIGCONT)
        until(lambda: delivered(bridge), "not delivered", within_s=30)
        assert bridge.delivery.delivered == 510


def test_without_a_broker_it_starts_waits_and_ends(
    station: Station, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path)
    begun = time.monotonic()
    with open_bridge(station, plain(broker)) as bridge:
        inspect(station, range(5))
        told(bridge, 5)
        until(lambda: "Connection refused" in caplog.text, "no word about it")
    assert time.monotonic() - begun < 15
    assert (bridge.delivery.waiting, bridge.delivery.dropped) == (0, 5)
    assert "5 results could not be delivered" in caplog.text
    assert caplog.text.count("Connection refused") == 1
    bridge.close()


def test_what_waits_is_sent_at_the_end(station: Station, broker: Broker, heard: Heard) -> None:
    with open_bridge(station, plain(broker)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        inspect(station, range(100))
        told(bridge, 100)
    assert bridge.delivery.delivered == 100
    until(lambda: len(heard.parts()) == 100, "not delivered")


def test_version_3_1_1(station: Station, broker: Broker, heard: Heard) -> None:
    with open_bridge(station, plain(broker, version="3.1.1")) as bridge:
        inspect(station, range(20))
        until(lambda: bridge.delivery.delivered == 20, "not delivered")
    until(lambda: len(heard.parts()) == 20, "not delivered")


def test_home_assistant_is_told_what_there_is(
    station: Station, broker: Broker, heard: Heard
) -> None:
    node = ROOT.replace("/", "_")
    topic = f"homeassistant/sensor/{node}/decision/config"
    with open_bridge(station, plain(broker, discovery=True)):
        until(lambda: bool(heard.messages(topic)), "no discovery")
        config = json.loads(retained(broker, topic))
    assert config["state_topic"] == f"{ROOT}/result"
    assert config["availability_topic"] == f"{ROOT}/availability"
    assert config["device"]["identifiers"] == [node] and config["device"]["name"] == "flange"
    configs = [
        json.loads(line.split(" ", 2)[2])
        for line in heard.path.read_text().splitlines()
        if line.split(" ", 2)[1].startswith("homeassistant/")
    ]
    ids = [config["unique_id"] for config in configs]
    assert len(ids) == len(set(ids)) >= 10
    topics = {ROOT + end for end in ("/result", "/stats", "/heartbeat")}
    assert {config["state_topic"] for config in configs} == topics


# Encryption and names.


@dataclass(frozen=True)
class Authority:
    """An authority and a certificate that it signed for 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path


def authority(folder: Path, *, name: str) -> Authority:
    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])

    def built(
        subject: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(ca_key, hashes.SHA256())

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = Authority(folder / f"{name}-ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
    pem = serialization.Encoding.PEM
    made.ca.write_bytes(built(ca_name, ca_key.public_key(), ca=True).public_bytes(pem))
    made.certificate.write_bytes(built(subject, key.public_key(), ca=False).public_bytes(pem))
    made.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


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
        open_bridge(station, secured.section()) as bridge,
        listening(secured.broker, tmp_path, *words) as heard,
    ):
        assert bridge.where == f"mqtt mqtts://127.0.0.1:{secured.broker.port}"
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        inspect(station, range(300))
        until(lambda: len(heard.parts()) >= 300, "not delivered")
        secured.broker.kill()
        inspect(station, range(300, 400))
        secured.broker.start()
        until(lambda: len(set(heard.parts())) >= 400, "not delivered after the restart")


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

    with open_bridge(station, secured.section(**more)) as bridge:
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
        with open_bridge(station, section) as bridge:
            inspect(station, range(5))
            until(lambda: bridge.delivery.delivered == 5, "not delivered")
    finally:
        broker.kill()


def test_files_that_cannot_be_used_are_named(station: Station, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(StationError, match=r"ca\.pem.*must be PEM files"):
        open_bridge(station, MqttSection(ca=tmp_path / "ca.pem"))
    section = MqttSection(user="line3", password_file=tmp_path / "absent")
    with pytest.raises(StationError, match=r"absent: No such file.*write the password"):
        open_bridge(station, section)


def latencies_ms(station: Station, seconds: float, first: int) -> list[float]:
    """From trigger to result, a hundred parts a second; sorted."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        station.wait_ready(10)
        begun = time.perf_counter()
        station.inspect(part_id=first + len(found))
        found.append((time.perf_counter() - begun) * 1e3)
        time.sleep(0.01)
    return sorted(found)


def p99(values: list[float]) -> float:
    return values[len(values) * 99 // 100]


@pytest.mark.benchmark
def test_a_broker_that_is_away_for_half_a_minute_delays_no_inspection(
    station: Station, broker: Broker, heard: Heard
) -> None:
    """On a quiet machine; the bridge is in the process of the station, which is the worse case."""
    outage_s = float(os.environ.get("EDGE_MQTT_OUTAGE_S", "30"))
    alone = latencies_ms(station, 10.0, 0)
    with open_bridge(station, plain(broker, queue=1000)) as bridge:
        until(lambda: bool(heard.messages(f"{ROOT}/availability")), "not online")
        there = latencies_ms(station, 10.0, 1_000_000)
        until(lambda: delivered(bridge), "not delivered")
        broker.kill()
        away = latencies_ms(station, outage_s, 2_000_000)
        told(bridge, len(there) + len(away))
        broker.start()
        until(lambda: delivered(bridge), "not delivered after the restart")
        counts = bridge.delivery
        until(lambda: len(set(heard.parts())) >= counts.delivered, "not heard")
    for name, values in (("no bridge", alone), ("broker there", there), ("broker away", away)):
        middle = values[len(values) // 2]
        print(f"{name}: {len(values)}, p50 {middle:.3f} p99 {p99(values):.3f} max {values[-1]:.2f}")
    print(counts)
    assert counts.delivered + counts.dropped == counts.accepted
    assert counts.dropped == max(0, len(away) - 1000)
    assert p99(away) - p99(alone) <= 1.0
