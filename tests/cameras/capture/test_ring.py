from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cameras.capture.ring import SLOTS, SPARE, RingError, RingReader, RingWriter, Stamp

SHAPE = (6, 8)


class Writer:
    """A writer in a process of its own: the kernel's locks are between processes."""

    def __init__(self) -> None:
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = Path(__file__).resolve().parents[2] / "rig" / "ring_writer.py"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, script, str(theirs.fileno()), *map(str, SHAPE)],
                pass_fds=[theirs.fileno()],
            )
        self._end.settimeout(120)
        _, [self.descriptor], _, _ = socket.recv_fds(self._end, 100, 1)
        self.reader = RingReader(self.descriptor, SHAPE)

    def order(self, word: str, value: int) -> bool:
        self._end.send(json.dumps([word, value]).encode())
        answer = self._end.recv(100)
        return bool(json.loads(answer)) if answer else False

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._end.close()
        self._process.wait()


@pytest.fixture
def writer():
    with Writer() as one:
        yield one


def test_the_newest_is_taken_once_in_place_and_cannot_be_written_to(writer) -> None:
    reader = writer.reader
    assert reader.newest(-1) is None
    for value in (10, 20, 30):
        assert writer.order("write", value)
    stamp, image = reader.newest(-1)
    assert stamp == Stamp(2, 30, 30)
    assert image.shape == (*SHAPE, 3)
    assert (image == 30).all()
    assert not image.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        image[:] = 0
    assert reader.newest(stamp.number) is None


def test_pictures_in_use_never_change_and_the_writer_is_never_held_up(writer) -> None:
    random.seed(7)
    reader, held, last = writer.reader, {}, -1
    for step in range(600):
        value = step % 251
        assert writer.order("write", value), "the writer found no room"
        if random.random() < 0.5:
            stamp, image = reader.newest(last)
            assert stamp.monotonic_ns == value
            last = stamp.number
            # A part of it keeps it as well as the whole.
            held[step] = image[1:3, 2:].transpose(1, 0, 2), value
        while held and random.random() < (0.1 if step < 300 else 0.7):
            del held[random.choice(list(held))]
        assert all((image == value).all() for image, value in held.values())
        assert len(reader._leases) <= SLOTS - SPARE
    held.clear()
    del image
    gc.collect()
    assert len(reader._leases) == 0


def test_what_does_not_fit_beside_those_in_use_is_a_copy(writer) -> None:
    held, last = [], -1
    for value in range(2 * SLOTS):
        assert writer.order("write", value)
        stamp, image = writer.reader.newest(last)
        last = stamp.number
        held.append(image)
    assert [int(image[0, 0, 0]) for image in held] == list(range(2 * SLOTS))
    assert sum(image.base is None for image in held) == SLOTS + SPARE
    assert not any(image.flags.writeable for image in held)


@pytest.mark.parametrize("word", ["abandon", "hold"])
def test_a_picture_that_was_not_finished_is_never_taken(writer, word) -> None:
    assert writer.order("write", 1)
    assert writer.order(word, 2)
    _, image = writer.reader.newest(-1)
    assert (image == 1).all()
    assert writer.reader.newest(0) is None
    assert writer.order("write", 3)
    assert (writer.reader.newest(0)[1] == 3).all()


def test_pictures_outlive_the_writer_and_its_locks_do_not(writer) -> None:
    assert writer.order("write", 5)
    assert writer.order("hold", 6)  # dies with the lock of a slot
    assert not writer.order("die", 0)
    _, image = writer.reader.newest(-1)
    assert (image == 5).all()
    for slot in range(SLOTS):
        fcntl.lockf(writer.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)


def test_the_memory_goes_with_the_last_picture() -> None:
    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().count("edge-frames")
        return len(list(Path("/proc/self/fd").iterdir())), maps

    before = held()
    with Writer() as one:
        one.order("write", 9)
        _, image = one.reader.newest(-1)
        part = image[2:]
        del image, one
        gc.collect()
    assert held()[1] > before[1]
    assert (part == 9).all()
    del part
    gc.collect()
    assert held() == before


def test_memory_that_lies_about_itself_is_refused_and_closed() -> None:
    def handed(size: int, seals: int) -> int:
        descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return descriptor

    good = RingWriter(SHAPE)
    size = os.fstat(good.descriptor).st_size
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    for descriptor, shape in (
        (handed(size - 1, seals), SHAPE),
        (handed(size, fcntl.F_SEAL_GROW), SHAPE),
        (handed(size, seals), (600, 800)),
        (handed(size, seals), (0, 8)),
        (handed(size, seals), (1 << 40, 8)),
    ):
        with pytest.raises(RingError):
            RingReader(descriptor, shape)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(descriptor)


def test_a_header_of_nonsense_yields_no_picture() -> None:
    """Whatever a broken writer leaves in the header, the reader reads within the memory."""
    ring = RingWriter(SHAPE)
    descriptor = os.dup(ring.descriptor)
    size = os.fstat(descriptor).st_size
    random.seed(3)
    reader = RingReader(os.dup(descriptor), SHAPE)
    for _ in range(300):
        os.pwrite(descriptor, random.randbytes(8 * (8 + 4 * SLOTS)), 0)
        with contextlib.suppress(OSError):
            found = reader.newest(random.choice([-1, 5, 1 << 40]))
            if found is not None:
                assert found[1].shape == (*SHAPE, 3)
                assert np.asarray(found[1]).sum() == 0
    assert os.fstat(descriptor).st_size == size
    os.close(descriptor)
