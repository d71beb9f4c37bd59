"""The OPC UA server as asyncua's own client meets it."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.node import Node
from opcua_peer import RESULTS, STALLS, Peer, bit, free_port, long, with_peer, word
from scoring import Scoring

from edge.plc.opcua.bridge import OpcuaBridge
from edge.plc.opcua.nodes import CONTROL, NAMESPACE, RESULT, STATUS, ZERO, map_rows
from edge.plc.opcua.section import OpcuaSection
from edge.plc.station.messages import StationOptions
from edge.plc.station.snapshot import StationError
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

pytestmark = pytest.mark.usefixtures("ready")


def test_every_node_of_the_table_is_there_with_its_type(bridge: OpcuaBridge) -> None:
    async def act(peer: Peer) -> None:
        for row in map_rows("flange"):
            name = row.address.removeprefix(f"nsu={NAMESPACE};s=flange.")
            node = peer.node(name)
            assert (await node.read_description()).Text == row.meaning
            if row.access == "call":
                assert await node.read_node_class() == ua.NodeClass.Method
                continue
            kind = await node.read_data_type_as_variant_type()
            assert kind.name == row.kind, name
            writable = ua.AccessLevel.CurrentWrite in await node.get_access_level()
            assert writable == (row.access == "read-write"), name

    with_peer(bridge, act)


def test_the_table_has_no_name_twice() -> None:
    addresses = [row.address for row in map_rows()]
    assert len(addresses) == len(set(addresses)) == len(STATUS) + len(RESULT) + len(CONTROL) + 3


def test_a_station_without_a_result_shows_bad_and_zero(bridge: OpcuaBridge) -> None:
    async def act(peer: Peer) -> None:
        shown = await peer.data(*RESULTS)
        for node, value in zip(RESULT, shown, strict=True):
            assert value.StatusCode is not None and value.StatusCode.is_bad(), node.name
            assert value.Value is not None and value.Value.Value == ZERO[node.kind], node.name
        names = ("Ready", "Online", "Valid", "Fault", "BootId", "RecipeId", "Phase")
        status = await peer.values(*(f"Status.{name}" for name in names))
        assert status[:4] == [True, True, False, False]
        assert status[4] > 0 and status[5:] == [1, "ready"]
        build = await peer.client.get_node(ua.ObjectIds.Server_ServerStatus_BuildInfo).read_value()
        assert build.SoftwareVersion == version("protoedge")

    with_peer(bridge, act)


def test_the_heartbeat_advances(bridge: OpcuaBridge) -> None:
    async def act(peer: Peer) -> None:
        (first,) = await peer.values("Status.Heartbeat")
        await asyncio.sleep(0.35)
        (second,) = await peer.values("Status.Heartbeat")
        assert 1 <= (second - first) % 65536 <= 100

    with_peer(bridge, act)


def test_inspect_answers_for_the_part_that_was_asked(bridge: OpcuaBridge) -> None:
    async def act(peer: Peer) -> None:
        last = 0
        for part in range(400, 600):
            seq, trigger_id, part_id, evaluation, error, score = await peer.inspect(part, part)
            assert (trigger_id, part_id, error) == (part, part, 0)
            assert evaluation == (2 if part >= 500 else 1)
            assert score == pytest.approx(part / 1000)
            assert last == 0 or seq == last + 1
            last = seq
        assert not any(value.StatusCode.is_good() for value in await peer.data(*RESULTS))

    with_peer(bridge, act)


async def handshake(peer: Peer, number: int) -> dict[str, Any]:
    """One cycle as a PLC does it; the result, read in one request."""
    await peer.until("Status.Ready", True)
    part = 70_000 + number
    await peer.write(TriggerId=word(number), PartId=long(part), Trigger=bit(True))
    await peer.until("Status.Valid", True)
    shown = await peer.data(*RESULTS)
    assert all(value.StatusCode.is_good() for value in shown)
    await peer.write(Trigger=bit(False), Acknowledge=bit(True))
    assert await peer.values("Status.Valid") == [False]
    assert await peer.values(*RESULTS) == [ZERO[node.kind] for node in RESULT]
    await peer.write(Acknowledge=bit(False))
    return {node.name: value.Value.Value for node, value in zip(RESULT, shown, strict=True)}


def test_a_handshake_by_levels(bridge: OpcuaBridge) -> None:
    async def act(peer: Peer) -> None:
        await peer.write(Enable=bit(True), Trigger=bit(False), Acknowledge=bit(False))
        for number in range(490, 510):
            result = await handshake(peer, number)
            assert result["TriggerId"] == number and result["PartId"] == 70_000 + number
            assert result["Pass"] is (number < 500) and result["Reject"] is (number >= 500)
            assert result["Score"] == pytest.approx((70_000 + number) % 1000 / 1000)
            assert result["WorstHeight"] == (4 if number >= 500 else 0)
            assert result["TriggeredAt"] <= result["DecidedAt"] <= datetime.now(timezone.utc)
        await peer.write(Enable=bit(False))

    with_peer(bridge, act)


def test_a_trigger_that_is_high_at_first_is_no_edge_and_one_serves_at_a_time(
    tmp_path: Path,
) -> None:
    judge = Scoring()
    section = OpcuaSection(port=free_port(), pki=tmp_path, anonymous=True, plain=True)

    async def act(peer: Peer) -> None:
        high = {"Enable": bit(True), "Trigger": bit(True), "PartId": long(7)}
        await peer.write(**high)
        await asyncio.sleep(0.05)
        assert await peer.values("Status.Ready", "Status.Triggers") == [True, 0]
        await peer.write(Trigger=bit(False))
        await peer.write(Trigger=bit(True))
        await peer.until("Status.Valid", True)
        assert judge.seen == [7]

    options = StationOptions(name="flange")
    with Station(ThreadWorker(judge), options=options) as station:
        station.wait_ready(10)
        with OpcuaBridge(station, section) as bridge:
            assert bridge.where == f"opcua {bridge.url}"
            assert bridge.where.startswith("opcua opc.tcp://127.0.0.1:")
            with_peer(bridge, act)
            with pytest.raises(StationError, match="cannot listen on"):
                OpcuaBridge(station, section)
        bridge.close()


def test_a_missed_deadline_is_answered_in_time_and_the_next_part_is_right(
    bridge: OpcuaBridge, station: Station
) -> None:
    async def act(peer: Peer) -> None:
        answer = await peer.inspect(1, STALLS, 50)
        assert answer[1:] == [1, STALLS, 0, 1, 0.0]
        with pytest.raises(ua.uaerrors.BadInvalidState):
            await peer.inspect(2, 2)  # the worker is still at it
        await asyncio.to_thread(station.wait_ready, 10)
        answer = await peer.inspect(3, 300)
        assert answer[1:5] == [3, 300, 1, 0]

    with_peer(bridge, act)


def test_recipes_are_changed_and_unknown_ones_refused(
    bridge: OpcuaBridge, station: Station
) -> None:
    async def act(peer: Peer) -> None:
        assert await peer.call("Recipe", word(2)) == 0
        assert await peer.values("Status.RecipeId", "Status.Command") == [2, 2]
        assert await peer.call("Recipe", word(9)) == 21
        assert await peer.values("Status.RecipeId", "Status.CommandError") == [2, 21]
        assert await peer.call("Recipe", word(1)) == 0
        await peer.call("Reset")

    with_peer(bridge, act)


def test_a_subscription_sees_the_result_come_and_go(bridge: OpcuaBridge, station: Station) -> None:
    heard: list[tuple[object, bool]] = []

    class Listener:
        def datachange_notification(self, _node: Node, value: object, data: Any) -> None:
            heard.append((value, data.monitored_item.Value.StatusCode.is_good()))

    async def act(peer: Peer) -> None:
        subscription = await peer.client.create_subscription(20, Listener())
        await subscription.subscribe_data_change(peer.node("Result.PartId"))
        station.trigger(trigger_id=1, part_id=321)
        await peer.until("Status.Valid", True)
        await asyncio.sleep(0.2)
        station.acknowledge()
        end = time.monotonic() + 5
        while len(heard) < 3 and time.monotonic() < end:
            await asyncio.sleep(0.02)
        await subscription.delete()

    with_peer(bridge, act)
    assert heard == [(0, False), (321, True), (0, False)]
