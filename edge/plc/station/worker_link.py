"""How a station and the process of its worker talk: one JSON object a packet, over a socket pair.

No pickle: what comes from the other side is data and never code. A packet arrives whole or not at
all, and the end of the other process is the end of the stream.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from edge.plc.station.messages import Answer, Change, Job, Recipe
from edge.plc.station.snapshot import DefectBox, ErrorCode, ResultEvaluation

MAX_PACKET = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker is told first.

    Attributes:
        judge: keywords of `JudgeOptions`.
        recipe_id: what it loads first.
    """

    judge: dict[str, Any]
    recipe_id: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker is loaded, warm and idle."""

    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Changed:
    """The worker is through with a change of recipe."""

    recipe: Recipe
    error: ErrorCode
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot begin, and ends."""

    code: ErrorCode
    reason: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The worker lives."""


Message: TypeAlias = WorkerSetup | Job | Change | Ready | Answer | Changed | Failed | Beat
KINDS = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (WorkerSetup, Job, Change, Ready, Answer, Changed, Failed, Beat)
    }
)


class WireError(ValueError):
    """A packet that is no message of ours."""


class Wire:
    """One end of the socket pair; any thread may send, one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lock = threading.Lock()

    def send(self, message: Message, *, wait: bool = True) -> bool:
        """Send; False if the other side is gone, or has not read for long and `wait` is False."""
        packet = packet_from_message(message)
        flags = 0 if wait else socket.MSG_DONTWAIT
        with self._lock:
            try:
                return self._end.send(packet, flags | socket.MSG_NOSIGNAL) == len(packet)
            except OSError:
                return False

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None if none came in time.

        Raises:
            EOFError: the other side is gone.
            WireError: it is no message of ours.
        """
        if not select.select([self._end], [], [], timeout_s)[0]:
            return None
        try:
            packet = self._end.recv(MAX_PACKET)
        except OSError as error:
            raise EOFError(str(error)) from error
        if not packet:
            raise EOFError("the other side is gone")
        return message_from_packet(packet)

    def close(self) -> None:
        """Close this end; the other side sees it."""
        self._end.close()


def wire_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep packets whole."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packet_from_message(message: Message) -> bytes:
    """A message as JSON."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode()


def message_from_packet(packet: bytes) -> Message:
    """A message back from JSON.

    Raises:
        WireError: it is none.
    """
    try:
        content = json.loads(packet)
        kind = KINDS[content.pop("kind")]
        if "recipe" in content:
            content["recipe"] = Recipe(**content["recipe"])
        if "worst" in content:
            content["worst"] = DefectBox(**content["worst"])
            content["evaluation"] = ResultEvaluation(content["evaluation"])
        for name in ("error", "code"):
            if name in content:
                content[name] = ErrorCode(content[name])
        return kind(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WireError(f"no message: {packet[:80]!r}: {error}") from error
