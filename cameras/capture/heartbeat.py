"""What a process that captures tells of itself at any time: a few numbers in shared memory.

They outlive it: what was captured stays counted when it is killed and started again.
"""

from __future__ import annotations

import mmap
import os

_BYTES = mmap.PAGESIZE
_BEAT, _DUE, _CAPTURED = range(3)


class Vitals:
    """Numbers with one writer, the process that captures; each is read and written whole.

    Args:
        descriptor: of the memory, `Vitals.make` or what was handed on; it is owned from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _BYTES)
        self._words = memoryview(self._memory).cast("Q")

    @staticmethod
    def make() -> Vitals:
        """Return new ones, all 0."""
        descriptor = os.memfd_create("edge-vitals", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _BYTES)
        return Vitals(descriptor)

    @property
    def beat(self) -> int:
        """Changes all the time while the process lives."""
        return self._words[_BEAT]

    @property
    def due_ns(self) -> int:
        """Monotonic time by which what it does must be done; 0 = it does nothing that can hang."""
        return self._words[_DUE]

    @property
    def captured(self) -> int:
        """Frames that the camera delivered so far."""
        return self._words[_CAPTURED]

    def live(self) -> None:
        """Give a sign of life."""
        self._words[_BEAT] += 1

    def busy_until(self, due_ns: int) -> None:
        """Say by when what begins now must be done; 0 = it is done."""
        self._words[_DUE] = due_ns

    def count(self) -> int:
        """Count a captured frame; its number, from 0."""
        number = self._words[_CAPTURED]
        self._words[_CAPTURED] = number + 1
        return number

    def close(self) -> None:
        """Release the memory; a second call does nothing."""
        if self._memory.closed:
            return
        self._words.release()
        self._memory.close()
        os.close(self.descriptor)
