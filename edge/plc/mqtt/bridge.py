"""The MQTT bridge (paho-mqtt): publishes a station's results.

One thread runs paho, which connects, receives and reconnects. A second one alone publishes results,
so that they go out in order and the station never waits for one of paho's locks.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import socket
import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
)
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.plc.mqtt.client import RETRY_S, client_from_section, connection_problem
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
from edge.plc.mqtt.troubles import STABLE_S, Takeovers, Troubles
from edge.plc.station.port import Port
from edge.plc.station.snapshot import InspectionResult, Snapshot, StationError
from process.threads import GuardedThread, noting_failures

_log = logging.getLogger("edge.plc.mqtt")
GOODBYE_S = 2.0  # for what waits at the end
AGAIN_S = 0.2  # until a late connection is told again
HANG_UP_S = 1.0  # for the last packet, once it is written
SILENT_S = 10.0
"""Without any answer to what was sent, after which a broker is told to be silent."""
_LOOK_S = 1.0  # between two looks at whether it answers
_NO_MQTT_S = 1.0  # before the next attempt after bytes that are none

Event: TypeAlias = tuple[int, bool] | None
"""A message's number and whether the broker took it; None: look for work."""


class MqttBridge(AbstractContextManager["MqttBridge"]):
    """Publishes a station's results from its birth until it is closed.

    A broker that is away is no error: results wait, up to a bound, until it is back.

    Args:
        port: the station.
        section: where to and how.

    Raises:
        StationError: a certificate, key or password cannot be read, or the station's name cannot
            be part of a topic.
    """

    def __init__(self, port: Port, section: MqttSection) -> None:
        try:
            self._topics = Topics(section.topic_root(port.snapshot().station))
        except ValueError as error:
            raise StationError(f"mqtt: {error}, or set mqtt.station") from error
        self._port = port
        self._section = section
        self._outbox = Outbox(section.queue, expiry_s=section.expiry_s or None)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._connected = False
        self._online_number: int | None = None  # of the message that says so
        self._connected_s = 0.0
        self._unanswered_s: float | None = None  # since when the broker owes an answer
        self._troubles = Troubles()
        self._takeovers = Takeovers()
        self._outage = ""
        self._beat: int | None = None
        self._stats_of: tuple[object, ...] = ()
        self._heartbeat_due = self._stats_due = 0.0
        self._closing = False
        self._hung_up = threading.Event()
        self._client = self._make_client()
        self._network = GuardedThread(self._run_network, name="edge-mqtt-network")
        self._network.start()
        self._thread = GuardedThread(self._run, name="edge-mqtt")
        self._thread.start()
        self._cancels = (port.on_result(self._put), port.on_change(lambda _: self._wake()))

    @property
    def where(self) -> str:
        """Its address, for the log."""
        section = self._section
        scheme = "mqtt" if section.plain else "mqtts"
        return f"mqtt {scheme}://{section.host}:{section.broker_port}"

    @property
    def delivery(self) -> Delivery:
        """What became of the results so far."""
        return self._outbox.delivery

    @property
    def trouble(self) -> str:
        """What the broker does not do; empty if all is well."""
        return f"{self.where}: {self._troubles.text}" if self._troubles.text else ""

    def close(self) -> None:
        """Send what is waiting if the broker is there, say goodbye; a second call does nothing."""
        if self._closing:
            return
        self._port.flush(GOODBYE_S)  # what was decided before is published too
        for cancel in self._cancels:
            cancel()
        self._closing = True
        self._wake()
        self._thread.join()
        left = self._outbox.give_up()
        if left:
            _log.error("mqtt: %d results could not be delivered and are lost", left)

    def __exit__(self, *_: object) -> None:
        self.close()

    # Called in threads of the station.

    def _put(self, result: InspectionResult) -> None:
        self._outbox.put(result)
        self._wake()

    def _wake(self) -> None:
        self._events.put(None)

    # The thread that publishes.

    def _run(self) -> None:
        while not self._closing:
            self._publish_what_is_due()
            self._look_whether_it_answers()
            self._take_event(self._idle_s())
        limit = time.monotonic() + GOODBYE_S
        while self._connected and not self._outbox.is_empty and time.monotonic() < limit:
            self._publish_what_is_due()
            self._take_event(0.1)
        self._say_goodbye(limit)

    def _take_event(self, timeout_s: float | None) -> None:
        """Wait for an event, and note what the broker took."""
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=timeout_s)
            if event is not None and self._outbox.note_answer(event[0], taken=event[1]):
                self._unanswered_s = None
                if event[1]:
                    self._troubles.end("refused")

    def _idle_s(self) -> float:
        """Seconds until a heartbeat, statistics or a look at the broker are due."""
        if not self._connected:
            return _LOOK_S
        due_s = min(self._heartbeat_due, self._stats_due) - time.monotonic()
        return max(0.0, min(due_s, _LOOK_S))

    def _look_whether_it_answers(self) -> None:
        """Tell of a broker that takes everything and acknowledges nothing; and of a sound one."""
        now = time.monotonic()
        owes = self._outbox.is_awaiting or (self._online_number is not None and not self._connected)
        if not owes:
            self._unanswered_s = None
            if self._connected:
                self._troubles.end("silent")
        elif self._unanswered_s is None:
            self._unanswered_s = now
        elif now - self._unanswered_s > SILENT_S:
            line = (
                f"the broker acknowledges nothing for {SILENT_S:.0f} s; results wait; see its log"
            )
            self._troubles.begin("silent", line)
        if (
            self._connected
            and now - self._connected_s > STABLE_S
            and self._takeovers.is_backing_off
        ):
            self._takeovers.note_stable()
            self._client.reconnect_delay_set(*RETRY_S)  # type: ignore[arg-type]
            self._troubles.end("takeover")

    def _publish_what_is_due(self) -> None:
        if not self._connected:
            return
        while (letter := self._outbox.take()) is not None:
            if not self._send(letter):
                return
        now, snapshot = time.monotonic(), self._port.snapshot()
        if now >= self._heartbeat_due:
            self._heartbeat_due = now + self._section.heartbeat_s
            # It stands still when the inference loop does: then nothing is sent.
            if snapshot.heartbeat != self._beat:
                self._beat = snapshot.heartbeat
                payload = heartbeat_from_snapshot(snapshot, time_ns=time.time_ns())
                self._client.publish(self._topics.heartbeat, payload)
        if now >= self._stats_due or _state(snapshot) != self._stats_of:
            self._stats_due = now + self._section.stats_s
            self._stats_of = _state(snapshot)
            payload = stats_from_snapshot(snapshot, self.delivery, time_ns=time.time_ns())
            self._client.publish(self._topics.stats, payload)

    def _send(self, letter: Letter) -> bool:
        """Hand a result to paho, which keeps it until it is acknowledged, whatever happens."""
        properties = None
        if self._section.version == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = "application/json"
            if letter.expires_in_s is not None:
                properties.MessageExpiryInterval = math.ceil(letter.expires_in_s)
        payload = payload_from_result(letter.result)
        sent = self._client.publish(self._topics.result, payload, qos=1, properties=properties)
        self._outbox.note_sent(sent.mid)
        return sent.rc == MQTT_ERR_SUCCESS

    def _say_goodbye(self, limit: float) -> None:
        """Say that the bridge ends, in an orderly way; otherwise the broker sends the last will."""
        client = self._client
        if self._connected:
            told = client.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
            if told.rc == MQTT_ERR_SUCCESS:
                with contextlib.suppress(RuntimeError):  # the connection is lost meanwhile
                    told.wait_for_publish(max(0.0, limit - time.monotonic()))
        was_open = client.socket() is not None
        client.disconnect()
        if was_open and not self._hung_up.wait(HANG_UP_S):
            self._cut_connection()  # a broker that reads nothing
        self._network.join(HANG_UP_S)
        while self._network.is_alive():  # it has connected just then, and knows of no goodbye
            client.disconnect()
            self._cut_connection()
            self._network.join(AGAIN_S)

    def _cut_connection(self) -> None:
        connection: Any = self._client.socket()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # The thread that runs paho.

    def _run_network(self) -> None:
        """Connect, and connect again, until the bridge says goodbye."""
        while not self._closing:
            try:
                self._client.loop_forever(retry_first_connection=True)
            except Exception as error:  # noqa: BLE001  # the border: a stranger's bytes in a library
                what = f"{type(error).__name__}: {error}"
                line = f"what the broker sends is no MQTT {self._section.version} ({what}); check "
                self._troubles.begin("no mqtt", f"{line}mqtt.version and mqtt.port")
                self._cut_connection()
                time.sleep(_NO_MQTT_S)

    # Called by paho, in its thread.

    def _make_client(self) -> Client:
        boot_id = self._port.snapshot().boot_id
        client = client_from_section(self._section, self._topics, boot_id=boot_id)
        # What one of these raised would end paho's loop, and nothing would be sent meanwhile.
        client.on_connect = noting_failures(self._on_connect, name="mqtt")
        client.on_connect_fail = noting_failures(self._on_connect_fail, name="mqtt")
        client.on_disconnect = noting_failures(self._on_disconnect, name="mqtt")
        client.on_publish = noting_failures(self._on_publish, name="mqtt")
        client.on_message = noting_failures(self._on_message, name="mqtt")
        client.on_subscribe = noting_failures(self._on_subscribe, name="mqtt")
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
            self._report_outage(f"refused: {reason}")
            return
        self._hung_up.clear()
        # What was on its way is sent again behind this. Only when the broker has this one may
        # results follow, so that they stay in order: see `_on_publish`.
        online = client.publish(self._topics.availability, ONLINE, qos=1, retain=True)
        self._online_number = online.mid
        # To see an "offline" of somebody else's that would stick.
        client.subscribe(self._topics.availability, qos=1)

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        # paho calls this where it handles the exception, and does not hand it over.
        self._report_outage(connection_problem(sys.exc_info()[1]))

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._hung_up.set()
        # A refusal, and an attempt like the one before, have their reason already.
        accepted = self._online_number is not None
        if not self._closing and (accepted or not self._outage):
            # paho's word for a connection that ended without any.
            lost = reason == "Unspecified error"
            self._report_outage("connection lost" if lost else str(reason))
        if accepted and not self._closing:
            self._back_off_if_taken_over(reason)
        self._connected, self._online_number = False, None

    def _back_off_if_taken_over(self, reason: ReasonCode) -> None:
        lasted_s = time.monotonic() - self._connected_s
        pause_s = self._takeovers.note_end(lasted_s=lasted_s, code=int(reason.value))
        if pause_s is None:
            return
        self._client.reconnect_delay_set(pause_s, pause_s)
        name = self._section.client_id or "this station's topics"
        self._troubles.begin(
            "takeover",
            f"another client takes this one's place at the broker: {name} is used twice; give each "
            "its own mqtt.client_id; tried again after minutes",
        )

    def _on_publish(
        self,
        _client: Client,
        _data: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        if reason.is_failure:
            line = f"the broker refuses messages: {reason}; check its access list"
            self._troubles.begin("refused", line)
        if mid == self._online_number and not self._connected:
            self._heartbeat_due = self._stats_due = 0.0
            self._beat = None
            self._connected = True
            self._connected_s = time.monotonic()
            self._unanswered_s = None
            self._troubles.end("no mqtt")
            if self._outage and not self._takeovers.is_backing_off:
                self._troubles.end("outage")
                _log.warning("mqtt: connected again; %s", self.delivery)
                self._outage = ""
        self._events.put((mid, not reason.is_failure))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.payload == OFFLINE and not self._closing:
            self._client.publish(self._topics.availability, ONLINE, qos=1, retain=True)

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if not refused:
            self._troubles.end("subscribe")
            return
        self._troubles.begin(
            "subscribe",
            f"the broker does not let us read {self._topics.availability} ({refused[0]}): another "
            "client's offline there would stay; check its access list",
        )

    def _report_outage(self, why: str) -> None:
        """Report an outage once, and again only for another reason."""
        if why == self._outage or self._takeovers.is_backing_off:
            return
        self._outage = why
        where = f"{self._section.host}:{self._section.broker_port}"
        queue = self._section.queue
        self._troubles.begin(
            "outage", f"{where}: {why}; up to {queue} results wait, and it is tried again"
        )


def _state(snapshot: Snapshot) -> tuple[object, ...]:
    """What is published at once when it changes."""
    return (snapshot.online, snapshot.fault, snapshot.error, snapshot.recipe_id)
