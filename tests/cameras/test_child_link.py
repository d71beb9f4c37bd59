"""What a process and its child say to each other, and what is no message."""

from __future__ import annotations

import enum
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from cameras.child_link import Heartbeat, Link, LinkError, message_from_packet, packet_from_message


class Colour(str, enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    y: float | None = None


@dataclass(frozen=True)
class Picture:
    at: Point
    colour: Colour
    title: str


@dataclass(frozen=True)
class File:
    name: str
    descriptor: int


KINDS = {kind.__name__: kind for kind in (Point, Picture, File)}


def pair() -> tuple[Link, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Link(ours, KINDS.values()), theirs


@pytest.mark.parametrize("message", [Point(3), Picture(Point(1, 0.5), Colour.RED, "wörter\n")])
def test_messages_come_back_as_they_went(message) -> None:
    assert message_from_packet(packet_from_message(message), KINDS) == message


@pytest.mark.parametrize(
    "packet",
    [
        *(b"", b"{", b"[]", b"{}", b"\xff", b'{"kind": "Link", "values": {}}'),
        b'{"kind": "Point", "values": {}}',
        b'{"kind": "Point", "values": []}',
        b'{"kind": "Point", "values": {"x": 1, "z": 1}}',
        b'{"kind": "Point", "values": {"x": 1, "__class__": 1}}',
        b'{"kind": "Picture", "values": {"at": {"x": 1}, "colour": "blue", "title": ""}}',
        b'{"kind": "Picture", "values": {"at": 5, "colour": "red", "title": ""}}',
        b'{"kind": "File", "values": {"name": "", "descriptor": 1}}',
    ],
)
def test_nonsense_is_no_message(packet) -> None:
    with pytest.raises(LinkError, match="no message"):
        message_from_packet(packet, KINDS)


def test_a_descriptor_goes_along_and_is_closed_with_what_is_no_message(tmp_path) -> None:
    link, theirs = pair()
    (tmp_path / "a").write_text("hello")
    with (tmp_path / "a").open("rb") as file:
        other = Link(theirs, ())
        assert other.send(File("a", file.fileno()))
        found = link.receive()
        assert isinstance(found, File)
        assert found.descriptor != file.fileno()
        assert not os.get_inheritable(found.descriptor)
        assert os.pread(found.descriptor, 9, 0) == b"hello"
        os.close(found.descriptor)
        before = len(list(Path("/proc/self/fd").iterdir()))
        socket.send_fds(theirs, [packet_from_message(Point(1))], [file.fileno()])
        with pytest.raises(LinkError, match="one too many"):
            link.receive()
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    link.close()
    other.close()


def test_a_link_that_is_full_or_cut_never_blocks_the_sender() -> None:
    link, theirs = pair()
    while link.send(Point(1), wait=False):
        pass
    theirs.close()
    assert not link.send(Point(1))
    link.close()
    assert not link.send(Point(1))


def test_the_end_of_the_other_side_is_seen() -> None:
    link, theirs = pair()
    assert link.receive(0.0) is None
    theirs.send(packet_from_message(Point(1)))
    theirs.shutdown(socket.SHUT_RDWR)
    assert link.receive(1.0) == Point(1)
    with pytest.raises(EOFError):
        link.receive(1.0)
    link.close()
    theirs.close()


def test_a_heartbeat_is_seen_through_another_descriptor() -> None:
    ours = Heartbeat()
    theirs = Heartbeat(os.dup(ours.descriptor))
    theirs.beats += 1
    theirs.due_ns = 77
    theirs.count += 2
    assert (ours.beats, ours.due_ns, ours.count) == (1, 77, 2)
    for each in (ours, theirs, theirs):
        each.close()
