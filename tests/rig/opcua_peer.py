"""A client (asyncua) and the station's nodes."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from asyncua import Client, ua
from asyncua.common.node import Node

from edge.plc.opcua.bridge import OpcuaBridge
from edge.plc.opcua.nodes import NAMESPACE, RESULT

STALLS = 4_000_000_000  # the part id whose inspection takes longer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
