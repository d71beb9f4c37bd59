"""Pictures in memory that two processes share: one writes, the other reads the newest in place.

A ring has a few slots of one size. Each has a sequence number that is odd while it is written: what
a writer left unfinished is never taken. Each has a lock of the kernel's: the reader holds that of
every slot whose picture is still in use anywhere, and the writer goes round those. So a picture
needs no copy, does not change while it is inspected, drawn and recorded, and a process that dies
leaves no lock behind.

The memory has no name: nothing stays behind, whoever dies. Its size is sealed, so that a writer
gone wrong cannot pull it away from under the reader.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SLOTS = 16
# The writer needs one slot to write, one that it wrote last, and one that is being handed over.
SPARE = 3
_HEAD = 8  # words before those of the slots
_WORDS = 4  # of a slot: sequence, number, monotonic_ns, captured_at_ns
_SEQUENCE, _NUMBER, _MONOTONIC, _CAPTURED_AT = range(_WORDS)
_DATA = mmap.PAGESIZE  # where the slots begin
_LATEST = 0  # word: number of the newest picture and its slot; 0 = none yet
_SLOT_BITS = 8
_TRIES = 8
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_LARGEST_SIDE = 1 << 15


class RingError(ValueError):
    """What was handed over is no ring."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is known of a picture beside its pixels.

    Attributes:
        number: of the captured frame, from 0.
        monotonic_ns: monotonic time of capture.
        captured_at_ns: Unix time of capture, UTC.
    """

    number: int
    monotonic_ns: int
    captured_at_ns: int


class _Ring:
    """The layout that both sides share."""

    def __init__(self, descriptor: int, shape: tuple[int, int], *, writable: bool) -> None:
        height, width = shape
        self.shape = shape
        self.descriptor = descriptor
        self._bytes_of_slot = _bytes_of_slot(height, width)
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._memory = mmap.mmap(descriptor, _bytes_of_ring(height, width), mmap.MAP_SHARED, access)
        words = memoryview(self._memory).cast("Q")
        self._latest = words[_LATEST : _LATEST + 1]
        starts = range(_HEAD, _HEAD + SLOTS * _WORDS, _WORDS)
        self._slots = [words[start : start + _WORDS] for start in starts]
        # The mapping goes with the last array in it; this one with the ring, or the last lease.
        weakref.finalize(self, os.close, descriptor)

    def _pixels(self, slot: int) -> npt.NDArray[np.uint8]:
        height, width = self.shape
        where = _DATA + slot * self._bytes_of_slot
        return np.frombuffer(self._memory, np.uint8, height * width * 3, where)

    def _lock(self, slot: int) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self, slot: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, slot)


class RingWriter(_Ring):
    """The side that writes; makes the memory.

    Args:
        shape: (height, width) of the pictures, which are (H, W, 3) uint8 BGR.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        descriptor = os.memfd_create("edge-frames", flags)
        os.ftruncate(descriptor, _bytes_of_ring(*shape))
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        super().__init__(descriptor, shape, writable=True)
        height, width = shape
        self._images = [self._pixels(slot).reshape(height, width, 3) for slot in range(SLOTS)]
        self._slot: int | None = None

    def begin(self) -> npt.NDArray[np.uint8] | None:
        """Return the memory for the next picture, (H, W, 3) uint8; None if all is in use."""
        newest = self._latest[0] & ((1 << _SLOT_BITS) - 1)
        empty = self._latest[0] == 0
        # The lowest first: what is never needed never takes memory.
        for slot in range(SLOTS):
            if (empty or slot != newest) and self._lock(slot):
                self._slot = slot
                self._slots[slot][_SEQUENCE] |= 1
                return self._images[slot]
        return None

    def publish(self, stamp: Stamp) -> None:
        """Make what was written since `begin` the newest picture."""
        slot = self._slot
        if slot is None:
            return
        words = self._slots[slot]
        words[_NUMBER] = stamp.number
        words[_MONOTONIC] = stamp.monotonic_ns
        words[_CAPTURED_AT] = stamp.captured_at_ns
        words[_SEQUENCE] += 1
        self._latest[0] = stamp.number + 1 << _SLOT_BITS | slot
        self.abandon()

    def abandon(self) -> None:
        """Give the slot of `begin` back; unpublished, its sequence stays odd."""
        if self._slot is not None:
            self._unlock(self._slot)
            self._slot = None


class RingReader(_Ring):
    """The side that reads.

    Args:
        descriptor: of the writer's memory; owned from now on, whatever happens.
        shape: (height, width) that the writer says.

    Raises:
        RingError: the memory is not what the writer says, or may still change its size.
    """

    def __init__(self, descriptor: int, shape: tuple[int, int]) -> None:
        try:
            _check_memory(descriptor, shape)
        except (RingError, OSError):
            os.close(descriptor)
            raise
        super().__init__(descriptor, shape, writable=False)
        self._leases: set[int] = set()

    def newest(self, after: int) -> tuple[Stamp, npt.NDArray[np.uint8]] | None:
        """Take the newest picture if its number is above `after`; None if there is none.

        Returns:
            Its stamp, and (H, W, 3) uint8 BGR that must not be written to. It stays as it is for
            as long as any array of it lives: in the shared memory, or, while more are kept than
            the writer can spare, as a copy.
        """
        for _ in range(_TRIES):
            word = self._latest[0]
            number, slot = (word >> _SLOT_BITS) - 1, word & ((1 << _SLOT_BITS) - 1)
            if number <= after or slot >= SLOTS:
                return None
            if not self._lock(slot):  # overtaken: a newer one has just come
                continue
            sequence, *values = self._slots[slot]
            stamp = Stamp(*values)
            if sequence % 2 or stamp.number < number:
                self._unlock(slot)
                return None
            return stamp, self._lease(slot)
        return None

    def _lease(self, slot: int) -> npt.NDArray[np.uint8]:
        height, width = self.shape
        pixels = self._pixels(slot)
        if len(self._leases) >= SLOTS - SPARE:
            copy = pixels.reshape(height, width, 3).copy()
            self._unlock(slot)
            copy.flags.writeable = False
            return copy
        self._leases.add(slot)
        # Every view of the picture keeps this array alive, and it keeps the ring.
        weakref.finalize(pixels, self._release, slot).atexit = False
        return pixels.reshape(height, width, 3)

    def _release(self, slot: int) -> None:
        # Runs wherever the last array goes, be it amid `newest`: no lock of ours may be taken.
        self._leases.discard(slot)
        self._unlock(slot)


def _bytes_of_slot(height: int, width: int) -> int:
    """Bytes from slot to slot: whole pages."""
    return -(-height * width * 3 // mmap.PAGESIZE) * mmap.PAGESIZE


def _bytes_of_ring(height: int, width: int) -> int:
    return _DATA + SLOTS * _bytes_of_slot(height, width)


def _check_memory(descriptor: int, shape: tuple[int, int]) -> None:
    if not all(0 < side <= _LARGEST_SIDE for side in shape):
        raise RingError(f"pictures of {shape[1]} x {shape[0]}: not a size")
    if os.fstat(descriptor).st_size != _bytes_of_ring(*shape):
        raise RingError(f"memory of a wrong size for pictures of {shape[1]} x {shape[0]}")
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise RingError("memory that may shrink")
