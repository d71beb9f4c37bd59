"""What an OPC UA client does wrong, or worse, costs no part."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from random import Random

import pytest
from asyncua import ua
from opcua_peer import STALLS, Peer, connected, long, with_peer, word

from edge.plc.opcua.bridge import OpcuaBridge
from edge.plc.station.station import Station

pytestmark = pytest.mark.usefixtures("ready")


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
