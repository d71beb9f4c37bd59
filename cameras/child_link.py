"""How a process and its child talk: JSON packets over a socket pair, numbers in shared memory.

No pickle: what comes from the other side is data and never code. A packet arrives whole or not at
all, and the end of the other process is the end of the stream.
"""

from __future__ import annotations

import array
import enum
import functools
import json
import mmap
import os
import select
import socket
import threading
import typing
from collections.abc import Collection
from dataclasses import asdict, is_dataclass

MAX_PACKET_BYTES = 64 * 1024


class LinkError(ValueError):
    """A packet that is no message of ours."""


class Link:
    """One end of a socket pair; any thread may send, one receives.

    A message is a frozen dataclass of JSON's values, enumerations and such dataclasses. Its
    field `descriptor`, if it has one, becomes a descriptor of the receiver, which owns it.

    Args:
        end: owned from now on.
        kinds: the messages that may come.
    """

    def __init__(self, end: socket.socket, kinds: Collection[type]) -> None:
        self._end = end
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def fileno(self) -> int:
        """A descriptor that is readable when `receive` has something at once."""
        return self._end.fileno()

    def send(self, message: object, *, wait: bool = True) -> bool:
        """Send; False if the other side is gone, or has not read for long and `wait` is False."""
        packet = packet_from_message(message)
        descriptor = getattr(message, "descriptor", None)
        rights = array.array("i", [] if descriptor is None else [descriptor])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        flags = socket.MSG_NOSIGNAL | (0 if wait else socket.MSG_DONTWAIT)
        with self._lock:
            try:  # `socket.send_fds` leaves out the flags
                return self._end.sendmsg([packet], ancillary, flags) == len(packet)
            except OSError:
                return False

    def receive(self, timeout_s: float | None = None) -> object | None:
        """Return the next message; None if none came in time.

        Raises:
            EOFError: the other side is gone.
            LinkError: it is no message of ours.
        """
        if timeout_s is not None and not self._poll.poll(timeout_s * 1000):
            return None
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._end, MAX_PACKET_BYTES, 1)
        except OSError as error:
            raise EOFError(str(error)) from error
        if not packet:
            raise EOFError("the other side is gone")
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        try:
            return message_from_packet(packet, self._kinds, *descriptors)
        except LinkError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def close(self) -> None:
        """Close this end; the other side sees it."""
        self._end.close()


def packet_from_message(message: object) -> bytes:
    """Return a message as JSON."""
    values = asdict(typing.cast(typing.Any, message))
    return json.dumps({"kind": type(message).__name__, "values": values}).encode()


def message_from_packet(
    packet: bytes, kinds: typing.Mapping[str, type], descriptor: int | None = None
) -> object:
    """Return the message of a packet, with the descriptor that came along in its place.

    Raises:
        LinkError: it is none.
    """
    try:
        content = json.loads(packet)
        values = content["values"]
        if ("descriptor" in values) != (descriptor is not None):
            raise ValueError("no descriptor came, or one too many")
        if descriptor is not None:
            values["descriptor"] = descriptor
        return typing.cast(object, _from_json(kinds[content["kind"]], values))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LinkError(f"no message: {packet[:80]!r}: {error}") from error


def _from_json(kind: typing.Any, value: typing.Any) -> typing.Any:
    if isinstance(kind, type) and is_dataclass(kind):
        types = _types_of(kind)
        return kind(**{name: _from_json(types[name], item) for name, item in value.items()})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    return value


@functools.cache
def _types_of(kind: type) -> dict[str, typing.Any]:
    return typing.get_type_hints(kind)


class _Word:
    """One number of a `Heartbeat`."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, heartbeat: Heartbeat, owner: type) -> int:
        return heartbeat.words[self._index]

    def __set__(self, heartbeat: Heartbeat, value: int) -> None:
        heartbeat.words[self._index] = value


class Heartbeat:
    """What a child tells of itself at any time: numbers in shared memory, which outlive it.

    The child alone writes; each number is read and written whole.

    Args:
        descriptor: of the memory, which is owned from now on; None makes new memory, all 0.
    """

    beats = _Word(0)
    """Changes all the time while the child lives."""
    due_ns = _Word(1)
    """Monotonic time by which what it does must be done; 0 = it does nothing that can hang."""
    count = _Word(2)
    """What the child has counted so far, whatever that is."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("edge-heartbeat", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, mmap.PAGESIZE)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self.words = memoryview(self._memory).cast("Q")

    def close(self) -> None:
        """Release the memory; a second call does nothing."""
        if not self._memory.closed:
            self.words.release()
            self._memory.close()
            os.close(self.descriptor)
