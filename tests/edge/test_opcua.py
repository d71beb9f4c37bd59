"""The OPC UA server as asyncua's own client meets it."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.common.node import Node

from edge.bridges.opcua import OpcuaBridge, OpcuaSection, map_rows, open_bridge
from edge.bridges.opcua_nodes import CONTROL, NAMESPACE, RESULT, STATUS, ZERO
from edge.station import Box, Evaluation, StationError, StationOptions
from edge.station.jobs import Answer, Job, Recipe
from edge.station.station import Station
from edge.station.thread_worker import ThreadWorker

STALLS = 4_000_000_000  # the part id whose inspection takes a second


@dataclass
class Scoring:
    """Judges a part by its id: modulo 1000, in thousandths; 500 and above is not OK."""

    inspects_s: float = 0.001
    seen: list[int] = field(default_factory=list)

    def load(self, recipe_id: int) -> Recipe:
        return Recipe(recipe_id, model_hash="ab" * 32, threshold=0.5, simulated=True)

    def inspect(self, job: Job) -> Answer:
        self.seen.append(job.part_id)
        time.sleep(1.0 if job.part_id == STALLS else self.inspects_s)
        permille = job.part_id % 1000
        bad = permille >= 500
        return Answer(
            job.seq,
            Evaluation.NOT_OK if bad else Evaluation.OK,
            score=permille / 1000,
            defects=int(bad),
            worst=Box(1, 2, 3, 4) if bad else Box(),
            acquired_at_ns=time.time_ns(),
            process_us=int(self.inspects_s * 1e6),
        )

    def close(self) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def station() -> Iterator[Station]:
    options = StationOptions(name="flange", deadline_ms=5000.0, recipes=frozenset({1, 2}))
    with Station(ThreadWorker(Scoring()), options=options) as station:
        station.wait_ready(10)
        yield station


@pytest.fixture(scope="module")
def bridge(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcuaBridge]:
    """A server that is open to everybody."""
    pki = tmp_path_factory.mktemp("pki")
    section = OpcuaSection(port=free_port(), pki=pki, anonymous=True, plain=True)
    with open_bridge(station, section) as bridge:
        yield bridge


@pytest.fixture(autouse=True)
def ready(station: Station) -> None:
    """Each test begins with a station that waits for a trigger."""
    station.acknowledge()
    station.wait_ready(10)


@dataclass
class Peer:
    """A client and the station's nodes."""

    client: Client
    index: int

    def node(self, name: str) -> Node:
        return self.client.get_node(f"ns={self.index};s=flange.{name}")

    async def inspect(self, trigger_id: int, part_id: int, timeout_ms: int = 0) -> list[Any]:
        return await self.call(
            "Inspect",
            ua.Variant(trigger_id, ua.VariantType.UInt16),
            ua.Variant(part_id, ua.VariantType.UInt32),
            ua.Variant(timeout_ms, ua.VariantType.UInt32),
        )

    async def call(self, method: str, *arguments: ua.Variant) -> Any:
        top = self.client.get_node(f"ns={self.index};s=flange")
        return await top.call_method(self.node(method).nodeid, *arguments)

    async def data(self, *names: str) -> list[ua.DataValue]:
        """Read in one request, Bad ones too."""
        return await self.client.uaclient.read_attributes(
            [self.node(name).nodeid for name in names], ua.AttributeIds.Value
        )

    async def values(self, *names: str) -> list[Any]:
        return [value.Value.Value for value in await self.data(*names)]

    async def write(self, **levels: ua.Variant) -> None:
        """Write levels in one request."""
        nodes = [self.node(f"Control.{name}") for name in levels]
        await self.client.write_values(nodes, [ua.DataValue(value) for value in levels.values()])

    async def until(self, name: str, value: object) -> None:
        end = time.monotonic() + 10
        while (await self.values(name)) != [value]:
            assert time.monotonic() < end, f"{name} never became {value}"
            await asyncio.sleep(0.002)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Peer]:
    client = Client(url)
    client.session_timeout = 60_000
    async with client:
        yield Peer(client, await client.get_namespace_index(NAMESPACE))


def with_peer(bridge: OpcuaBridge, act: Callable[[Peer], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connected(bridge.url) as peer:
            await act(peer)

    asyncio.run(run())


def bit(value: bool) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.Boolean)


def word(value: int) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.UInt16)


def long(value: int) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.UInt32)


RESULTS = [f"Result.{node.name}" for node in RESULT]


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


def test_a_trigger_that_is_high_at_first_is_no_edge(tmp_path: Path) -> None:
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
        with open_bridge(station, section) as bridge:
            with_peer(bridge, act)
            with pytest.raises(StationError, match="cannot listen on"):
                open_bridge(station, section)


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


LIST = ua.Variant([1, 2], ua.VariantType.UInt32)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), ua.uaerrors.BadArgumentsMissing),
        ((word(1), long(1)), ua.uaerrors.BadArgumentsMissing),
        ((word(1), long(1), long(0), long(0)), ua.uaerrors.BadTooManyArguments),
        ((long(1), long(1), long(0)), ua.uaerrors.BadInvalidArgument),
        ((word(1), ua.Variant("1"), long(0)), ua.uaerrors.BadInvalidArgument),
        (
            (word(1), ua.Variant([1, 2], ua.VariantType.UInt32), long(0)),
            ua.uaerrors.BadInvalidArgument,
        ),
        ((ua.Variant(None), long(1), long(0)), ua.uaerrors.BadInvalidArgument),
    ],
)
def test_wrong_arguments_inspect_nothing(
    bridge: OpcuaBridge,
    station: Station,
    arguments: Sequence[ua.Variant],
    error: type[Exception],
) -> None:
    async def act(peer: Peer) -> None:
        with pytest.raises(error):
            await peer.call("Inspect", *arguments)

    before = station.snapshot().counters.triggers
    with_peer(bridge, act)
    assert station.snapshot().counters.triggers == before


@pytest.mark.parametrize(
    "value",
    [
        ua.DataValue(ua.Variant("yes")),
        ua.DataValue(ua.Variant(1, ua.VariantType.UInt16)),
        ua.DataValue(ua.Variant([True, False], ua.VariantType.Boolean)),
        ua.DataValue(ua.Variant(None)),
        ua.DataValue(ua.Variant(True), StatusCode=ua.StatusCode(ua.StatusCodes.BadNoData)),
    ],
)
def test_a_level_that_is_none_is_refused_with_all_that_came_with_it(
    bridge: OpcuaBridge, value: ua.DataValue
) -> None:
    async def act(peer: Peer) -> None:
        nodes = [peer.node("Control.Heartbeat"), peer.node("Control.Enable")]
        before = await peer.values("Control.Heartbeat", "Control.Enable")
        with pytest.raises(ua.UaStatusCodeError):
            await peer.client.write_values(nodes, [ua.DataValue(word(before[0] + 1)), value])
        assert await peer.values("Control.Heartbeat", "Control.Enable") == before

    with_peer(bridge, act)


@pytest.mark.parametrize("name", ["Status.Ready", "Result.Pass", "Status.Heartbeat"])
def test_what_the_station_shows_cannot_be_written(bridge: OpcuaBridge, name: str) -> None:
    async def act(peer: Peer) -> None:
        with pytest.raises(ua.UaStatusCodeError):
            await peer.node(name).write_value(True)

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


def test_clients_that_vanish_leave_the_station_ready(bridge: OpcuaBridge, station: Station) -> None:
    async def act(peer: Peer) -> None:
        call = asyncio.create_task(peer.inspect(5, STALLS))
        await peer_busy(station)
        peer.client.uaclient.protocol.transport.abort()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def run() -> None:
        peer = connected(bridge.url)
        entered = await peer.__aenter__()
        await act(entered)

    asyncio.run(run())
    assert station.wait_ready(10).ready


async def peer_busy(station: Station) -> None:
    while not station.snapshot().busy:
        await asyncio.sleep(0.005)


HELLO = bytes.fromhex("48454c46") + struct.pack("<7I", 32, 0, 65536, 65536, 0, 0, 0)


def test_bytes_that_are_no_opc_ua_stop_nothing(bridge: OpcuaBridge, station: Station) -> None:
    """Random ones, and messages whose type, length or content is wrong, after a hello or not."""
    random = Random(7)
    port = int(bridge.url.rpartition(":")[2])
    before = station.snapshot().counters.triggers
    for number in range(300):
        body = random.randbytes(random.randrange(64))
        kind = random.choice([b"OPNF", b"MSGF", b"MSGC", b"CLOF", b"HELF", b"XXXX"])
        size = random.choice([8 + len(body), len(body), 0, 2**31, random.randrange(256)])
        framed = kind + struct.pack("<I", size) + body
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall((HELLO if number % 2 else b"") + (body if number % 5 == 0 else framed))

    async def act(peer: Peer) -> None:
        assert (await peer.inspect(9, 9))[1:5] == [9, 9, 1, 0]

    with_peer(bridge, act)
    assert station.snapshot().counters.triggers == before + 1
