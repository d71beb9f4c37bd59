"""The MQTT bridge (paho-mqtt): publishes a station's results.

One thread does all of it, connecting and waiting for the broker too: results go out in order, the
station never waits for one of paho's locks, and nobody else touches the connection.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import AbstractContextManager

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

from edge.plc.mqtt.client import client_from_section, connection_problem
from edge.plc.mqtt.connection import BrokerConnection
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
HANG_UP_S = 1.0  # for the last packet, once it is written
SILENT_S = 10.0
"""Without any answer to what was sent, after which a broker is told to be silent."""
_LOOK_S = 1.0  # between two looks at whether it answers


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
        self._client = self._make_client()
        self._connection = BrokerConnection(
            self._client,
            on_unreachable=lambda error: self._report_outage(connection_problem(error)),
            on_nonsense=self._note_nonsense,
        )
        self._thread = GuardedThread(self._run, name="edge-mqtt")
        self._thread.start()
        self._cancels = (
            port.on_result(self._put),
            port.on_change(lambda _: self._connection.wake()),
        )

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
        self._connection.wake()
        self._thread.join()
        left = self._outbox.give_up()
        if left:
            _log.error("mqtt: %d results could not be delivered and are lost", left)

    def __exit__(self, *_: object) -> None:
        self.close()

    # Called in threads of the station.

    def _put(self, result: InspectionResult) -> None:
        self._outbox.put(result)
        self._connection.wake()

    # The thread of the bridge, in which paho calls, too.

    def _run(self) -> None:
        while not self._closing:
            self._publish_what_is_due()
            self._look_whether_it_answers()
            self._connection.turn(self._idle_s())
        limit = time.monotonic() + GOODBYE_S
        while self._connected and not self._outbox.is_empty and time.monotonic() < limit:
            self._publish_what_is_due()
            self._connection.turn(0.1)
        self._say_goodbye(limit)

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
        if self._connected:
            told = self._client.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
            while (
                self._connected
                and not told.is_published()
                and (left_s := limit - time.monotonic()) > 0
            ):
                self._connection.turn(left_s)
        self._connection.close(HANG_UP_S)

    def _note_nonsense(self, error: Exception) -> None:
        self._connected, self._online_number = False, None
        what = f"{type(error).__name__}: {error}"
        line = f"what the broker sends is no MQTT {self._section.version} ({what}); check "
        self._troubles.begin("no mqtt", f"{line}mqtt.version and mqtt.port")

    def _make_client(self) -> Client:
        boot_id = self._port.snapshot().boot_id
        client = client_from_section(self._section, self._topics, boot_id=boot_id)
        # What one of these raised would be taken for the broker's nonsense.
        client.on_connect = noting_failures(self._on_connect, name="mqtt")
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
        self._connection.note_accepted()
        # What was on its way is sent again behind this. Only when the broker has this one may
        # results follow, so that they stay in order: see `_on_publish`.
        online = client.publish(self._topics.availability, ONLINE, qos=1, retain=True)
        self._online_number = online.mid
        # To see an "offline" of somebody else's that would stick.
        client.subscribe(self._topics.availability, qos=1)

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
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
        self._connection.hold_off(pause_s)
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
        if self._outbox.note_answer(mid, taken=not reason.is_failure):
            self._unanswered_s = None
            if not reason.is_failure:
                self._troubles.end("refused")

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
