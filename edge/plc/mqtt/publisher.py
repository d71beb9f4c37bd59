"""The MQTT client (paho-mqtt): one thread that connects, sends and connects again.

paho is driven by its calls for foreign loops, so that this thread alone touches it: no lock is
shared with whoever brings results, and the reason why a broker cannot be had is known.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import ssl
import threading
import time
from typing import Any

from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTv5,
    MQTTv311,
)
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.plc.mqtt.outbox import Letter, Outbox
from edge.plc.mqtt.section import MqttSection
from edge.plc.mqtt.topics import (
    OFFLINE,
    ONLINE,
    Delivery,
    Topics,
    heartbeat_from_snapshot,
    payload_from_result,
    stats_from_snapshot,
)
from edge.plc.station import InspectionResult, Port, Snapshot

_log = logging.getLogger("edge.plc.mqtt.bridge")
CONNECT_WITHIN_S = 5.0
RETRY_S = (0.5, 10.0)  # first and longest wait between attempts
GOODBYE_S = 2.0  # for what waits at the end


class Publisher:
    """Publishes from its birth until `close`.

    Args:
        port: the station.
        section: where to and how.
        topics: what is published where.
        password: of the section's user.
        tls: how to encrypt; None for plain.
    """

    def __init__(
        self,
        port: Port,
        section: MqttSection,
        *,
        topics: Topics,
        password: str | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._port = port
        self._section = section
        self._topics = topics
        self._outbox = Outbox(section.queue, expiry_s=section.expiry_s or None)
        self._client = self._new_client(password, tls)
        self._connected = False
        self._outage = ""
        self._beat: int | None = None
        self._stats_of: tuple[object, ...] = ()
        self._due = {"heartbeat": 0.0, "stats": 0.0}
        self._closing = threading.Event()
        self._wake_lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="edge-mqtt", daemon=True)
        self._cancels = (port.on_result(self._take), port.on_change(lambda _: self._wake()))
        self._thread.start()

    @property
    def delivery(self) -> Delivery:
        """What became of the results so far."""
        return self._outbox.delivery

    def close(self) -> None:
        """Send what waits if the broker is there; a second call does nothing."""
        if self._closing.is_set():
            return
        self._port.flush(GOODBYE_S)  # what was decided before is published too
        for cancel in self._cancels:
            cancel()
        self._closing.set()
        self._wake()
        self._thread.join()
        left = self._outbox.give_up()
        if left:
            _log.error("mqtt: %d results could not be delivered and are lost", left)
        with self._wake_lock:
            os.close(self._wake_write)
            os.close(self._wake_read)
            self._wake_write = -1

    # Called in other threads.

    def _take(self, result: InspectionResult) -> None:
        self._outbox.put(result)
        self._wake()

    def _wake(self) -> None:
        # The lock: a listener that is called at the end must not write into somebody else's file.
        with self._wake_lock, contextlib.suppress(BlockingIOError):  # full: it is awake
            if self._wake_write >= 0:
                os.write(self._wake_write, b"!")

    # The thread that sends.

    def _run(self) -> None:
        wait_s = RETRY_S[0]
        while not self._closing.is_set():
            if self._connect():
                wait_s = self._converse(wait_s)
            self._connected = False
            if self._closing.wait(wait_s):
                break
            wait_s = min(2 * wait_s, RETRY_S[1])

    def _connect(self) -> bool:
        """Open the connection; the broker's word comes later, in `_on_connect`."""
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            self._gone(_why(error))
            return False
        return True

    def _converse(self, wait_s: float) -> float:
        """Send and receive until the connection is lost; returns how long to wait then."""
        goodbye: float | None = None
        while (sock := self._client.socket()) is not None:
            self._serve(sock)
            if self._connected:
                wait_s = RETRY_S[0]
                self._send_all()
            if not self._closing.is_set():
                continue
            if goodbye is None:
                goodbye = time.monotonic() + GOODBYE_S
            if not self._connected or self._outbox.empty or time.monotonic() > goodbye:
                self._say_goodbye(goodbye)
                return wait_s
        if not self._outage:
            self._gone("connection lost")
        return wait_s

    def _serve(self, sock: Any) -> None:
        """Wait for the network, for a result or for the next heartbeat, and let paho work."""
        writes = [sock] if self._client.want_write() else []
        # What TLS has decrypted already is not seen by select.
        ready = hasattr(sock, "pending") and sock.pending() > 0
        timeout = 0.0 if ready else self._idle_s()
        readable, writable, _ = select.select([sock, self._wake_read], writes, [], timeout)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
        if ready or sock in readable:
            self._client.loop_read()
        if writable and self._client.socket() is not None:
            self._client.loop_write()
        self._client.loop_misc()

    def _idle_s(self) -> float:
        due = min(self._due.values()) if self._connected else time.monotonic() + 0.2
        return min(max(due - time.monotonic(), 0.0), 0.2)

    def _send_all(self) -> None:
        now = time.monotonic()
        snapshot = self._port.snapshot()
        while (letter := self._outbox.take()) is not None:
            if not self._send(letter):
                return
        if now >= self._due["heartbeat"]:
            self._due["heartbeat"] = now + self._section.heartbeat_s
            # It stands still when the inference loop does: then nothing is sent.
            if snapshot.heartbeat != self._beat:
                self._beat = snapshot.heartbeat
                self._publish(
                    self._topics.heartbeat,
                    heartbeat_from_snapshot(snapshot, time_ns=time.time_ns()),
                )
        if now >= self._due["stats"] or _state(snapshot) != self._stats_of:
            self._due["stats"] = now + self._section.stats_s
            self._stats_of = _state(snapshot)
            self._publish(
                self._topics.stats,
                stats_from_snapshot(snapshot, self.delivery, time_ns=time.time_ns()),
            )

    def _send(self, letter: Letter) -> bool:
        properties = None
        if self._section.version == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = "application/json"
            if letter.expires_in_s is not None:
                properties.MessageExpiryInterval = math.ceil(letter.expires_in_s)
        sent = self._client.publish(
            self._topics.result, payload_from_result(letter.result), qos=1, properties=properties
        )
        # From here paho keeps it until it is acknowledged, also beyond a lost connection.
        self._outbox.sent(sent.mid)
        return sent.rc == MQTT_ERR_SUCCESS

    def _publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> int:
        return self._client.publish(topic, payload, qos=qos, retain=retain).mid

    def _say_goodbye(self, until: float) -> None:
        """Tell that the bridge ends, in order: the last will is for the other way."""
        if self._connected:
            told = self._client.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
            while (
                not told.is_published()
                and time.monotonic() < until
                and (sock := self._client.socket()) is not None
            ):
                self._serve(sock)
        self._client.disconnect()

    # Called by paho, in the same thread.

    def _new_client(self, password: str | None, tls: ssl.SSLContext | None) -> Client:
        section, topics = self._section, self._topics
        # A fixed name: a broker then ends the old session, with its last will, before the new one
        # begins. Otherwise that "offline" would come late and stick.
        name = section.client_id or topics.root.replace("/", "-")
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=MQTTv5 if section.version == "5" else MQTTv311,
        )
        client.connect_timeout = CONNECT_WITHIN_S
        if section.user is not None:
            client.username_pw_set(section.user, password)
        if tls is not None:
            client.tls_set_context(tls)
        client.will_set(topics.availability, OFFLINE, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.connect_async(section.host, section.broker_port, keepalive=section.keepalive_s)
        return client

    def _on_connect(
        self,
        client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._gone(f"refused: {reason}")
            return
        self._connected = True
        self._publish(self._topics.availability, ONLINE, qos=1, retain=True)
        # To see an "offline" of somebody else's that would stick.
        client.subscribe(self._topics.availability, qos=1)
        self._due = {"heartbeat": 0.0, "stats": 0.0}
        self._beat = None
        if self._outage:
            _log.warning("mqtt: connected again; %s", self.delivery)
            self._outage = ""

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        # A refusal has its reason already.
        if self._connected and not self._closing.is_set():
            # paho's word for a connection that ended without any.
            self._gone("connection lost" if reason == "Unspecified error" else str(reason))
        self._connected = False

    def _on_publish(
        self,
        _client: Client,
        _data: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        if reason.is_failure:
            _log.error("mqtt: a message was refused: %s; check the broker's access list", reason)
        self._outbox.answered(mid, taken=not reason.is_failure)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.payload == OFFLINE and not self._closing.is_set():
            self._publish(self._topics.availability, ONLINE, qos=1, retain=True)

    def _gone(self, why: str) -> None:
        """Report an outage once, and again only for another reason."""
        if why == self._outage:
            return
        self._outage = why
        _log.error(
            "mqtt: %s:%d: %s; up to %d results wait, and it is tried again",
            *(self._section.host, self._section.broker_port, why, self._section.queue),
        )


def _state(snapshot: Snapshot) -> tuple[object, ...]:
    """What is told at once when it changes."""
    return (snapshot.online, snapshot.fault, snapshot.error, snapshot.recipe_id)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate: {error.verify_message}; check mqtt.ca and mqtt.host"
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or str(error)
