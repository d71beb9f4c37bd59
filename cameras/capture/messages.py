"""What the two processes of a live capture say to each other: JSON packets, some with memory.

The first packet, to the child, is the `Task`; the end of the stream ends it. No pickle: what comes
from the other side is data and never code.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

LARGEST = 64 * 1024  # bytes of a packet
OPENS = b"edge: the camera is opened"
"""A line between those of libraries: what follows is of another connection."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the child shall capture.

    Attributes:
        device: from `cameras.devices.device.json_from_device`; may contain credentials.
        stall_ns: a wait for a picture of this length ends the connection.
    """

    device: dict[str, Any]
    stall_ns: int


@dataclass(frozen=True, slots=True)
class Connected:
    """The camera is open; its nominal rate."""

    rate_hz: float | None


@dataclass(frozen=True, slots=True)
class Lost:
    """The camera cannot be opened, or delivers no more; it is tried again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Memory:
    """The pictures are in new memory from now on, whose descriptor comes along."""

    height: int
    width: int


Message: TypeAlias = Task | Connected | Lost | Memory
_KINDS = MappingProxyType({kind.__name__: kind for kind in (Task, Connected, Lost, Memory)})


class LinkError(ValueError):
    """A packet that is no message of ours."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep packets whole."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Send a message, and a descriptor with it.

    Raises:
        OSError: the other side is gone.
    """
    packet = json.dumps({"kind": type(message).__name__, "values": asdict(message)}).encode()
    descriptors = [] if descriptor is None else [descriptor]
    socket.send_fds(end, [packet], descriptors, socket.MSG_NOSIGNAL)


def receive(end: socket.socket) -> tuple[Message, int | None]:
    """Wait for a message; with it the descriptor that came along, which is the caller's to close.

    Raises:
        EOFError: the other side is gone.
        LinkError: it is no message of ours.
    """
    try:
        packet, descriptors, _, _ = socket.recv_fds(end, LARGEST, 1)
    except OSError as error:
        raise EOFError(str(error)) from error
    if not packet:
        raise EOFError("the other side is gone")
    try:
        content = json.loads(packet)
        message: Message = _KINDS[content["kind"]](**content["values"])
    except (ValueError, KeyError, TypeError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise LinkError(f"no message: {error}") from error
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return message, descriptors[0] if descriptors else None
