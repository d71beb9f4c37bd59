"""The nodes in asyncua's address space, and how a snapshot is shown in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.address_space import AddressSpace, AttributeValue
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from edge.plc.opcua.methods import Methods
from edge.plc.opcua.nodes import (
    CONTROL,
    INSPECT,
    RECIPE,
    RESET,
    RESULT,
    STATUS,
    ZERO,
    Argument,
    ControlNode,
    NodeValue,
    ResultNode,
    StatusNode,
    fit,
    method_name,
    node_name,
)
from edge.plc.station.snapshot import Snapshot

_GOOD = ua.StatusCode(ua.UInt32(StatusCodes.Good))
_NONE = ua.StatusCode(ua.UInt32(StatusCodes.BadNoData))


@dataclass(slots=True)
class _ShownNode:
    """A node and what it shows now."""

    node: StatusNode | ResultNode
    attribute: AttributeValue
    kind: ua.VariantType
    value: NodeValue | None = None
    fresh: bool = True


class StationSpace:
    """What a station shows in OPC UA; made by `build`."""

    def __init__(self, space: AddressSpace, shown: list[_ShownNode]) -> None:
        self._space = space
        self._shown = shown

    @classmethod
    async def build(
        cls, server: Server, index: int, station: str, *, methods: Methods
    ) -> StationSpace:
        """Add a station's nodes and methods below Objects.

        Args:
            server: initialised, not yet started.
            index: of the namespace.
            station: first part of every identifier.
            methods: what the methods do.
        """
        top = await server.nodes.objects.add_object(
            node_id(station, index), ua.QualifiedName(station, index)
        )
        shown = []
        for group, nodes in (("Status", STATUS), ("Result", RESULT), ("Control", CONTROL)):
            name = f"{station}.{group}"
            folder = await top.add_folder(node_id(name, index), ua.QualifiedName(group, index))
            for node in nodes:
                identifier = node_id(node_name(station, group, node.name), index)
                added = await _add_variable(folder, identifier, node)
                if isinstance(node, StatusNode | ResultNode):
                    shown.append(_shown_node(server, added, node))
                else:
                    await added.set_writable()
        for method, call in (
            (INSPECT, methods.inspect),
            (RECIPE, methods.recipe),
            (RESET, methods.reset),
        ):
            added = await top.add_method(
                node_id(method_name(station, method.name), index),
                ua.QualifiedName(method.name, index),
                call,
                [_argument(argument) for argument in method.takes],
                [_argument(argument) for argument in method.gives],
            )
            await _describe(added, method.meaning)
        return cls(server.iserver.aspace, shown)

    def value(self, identifier: ua.NodeId) -> Any:
        """The value of a node of `Control`."""
        variant = self._space.read_attribute_value(identifier, AttributeIds.Value).Value
        return None if variant is None else variant.Value

    async def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot.

        The values change together, before anything is awaited; then the subscriptions are told.
        asyncua's own way to write is not taken: it removes the value from a Bad one.
        """
        now: Any = datetime.now(timezone.utc)  # asyncua names a type of its own
        changed = []
        for shown in self._shown:
            value = _value(shown.node, snapshot)
            if shown.fresh or value != shown.value:
                shown.value, shown.fresh = value, False
                shown.attribute.value = _data_value(value, shown, now)
                changed.append(shown.attribute)
        for attribute in changed:
            for handle, tell in tuple(attribute.datachange_callbacks.items()):
                await tell(handle, attribute.value)  # the newest, if it changed once more meanwhile


def node_id(identifier: str, index: int) -> ua.NodeId:
    """Return a node id of a string in a namespace."""
    return ua.NodeId(ua.String(identifier), ua.Int16(index))


def _value(node: StatusNode | ResultNode, snapshot: Snapshot) -> NodeValue | None:
    """What a node shows; None if it has nothing to show."""
    if isinstance(node, StatusNode):
        return fit(node.read(snapshot), node.kind)
    result = snapshot.result if snapshot.valid else None
    value = None if result is None else node.read(result)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return fit(value, node.kind)


def _data_value(value: NodeValue | None, shown: _ShownNode, now: Any) -> ua.DataValue:
    zero = ZERO[shown.node.kind]
    return ua.DataValue(
        Value=ua.Variant(zero if value is None else value, shown.kind),
        StatusCode=_NONE if value is None else _GOOD,
        SourceTimestamp=now,
        ServerTimestamp=now,
    )


def _node_kind(node: StatusNode | ResultNode | ControlNode) -> ua.VariantType:
    kind: ua.VariantType = getattr(ua.VariantType, node.kind)
    return kind


async def _add_variable(
    folder: Node, identifier: ua.NodeId, node: StatusNode | ResultNode | ControlNode
) -> Node:
    name = ua.QualifiedName(node.name, identifier.NamespaceIndex)
    added = await folder.add_variable(identifier, name, ZERO[node.kind], _node_kind(node))
    await _describe(added, node.meaning)
    return added


async def _describe(node: Node, meaning: str) -> None:
    await node.write_attribute(
        AttributeIds.Description, ua.DataValue(ua.Variant(ua.LocalizedText(meaning)))
    )


def _shown_node(server: Server, added: Node, node: StatusNode | ResultNode) -> _ShownNode:
    attribute = server.iserver.aspace[added.nodeid].attributes[AttributeIds.Value]
    return _ShownNode(node, attribute, _node_kind(node))


def _argument(argument: Argument) -> ua.Argument:
    return ua.Argument(
        Name=argument.name,
        DataType=ua.NodeId(getattr(ObjectIds, argument.kind)),
        ValueRank=-1,
        ArrayDimensions=[],
        Description=ua.LocalizedText(argument.meaning),
    )
