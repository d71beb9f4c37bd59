"""Arrays that belong to the caller and are still not allocated anew for each frame.

A caller may keep what `infer` gave for as long as it likes. When the last array that looks into a
block of memory is gone, the block is used again; so the steady state allocates nothing large.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

from engines.engine import Output

MAX_FREE = 8
"""Blocks that are kept while nobody uses them; more go back to the system."""


class BufferPool:
    """Arrays of one shape and type; safe to use from several threads.

    Args:
        shape: of each array.
        dtype: of each array.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._size = int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        # A deque's append and pop are atomic; its bound drops the oldest free block.
        self._free: deque[bytearray] = deque(maxlen=MAX_FREE)

    def copy(self, values: Output) -> Output:
        """A copy of `values`, which have this shape and type, or a shorter first axis.

        It is the caller's own until it lets go of it and of its views.
        """
        try:
            block = self._free.pop()
        except IndexError:
            block = bytearray(self._size)
        # numpy makes a view's views refer to the first array whose memory is no array's own. That
        # is `owner`: it lives exactly as long as something looks into the block.
        owner: Output = np.frombuffer(block, self._dtype)
        finalizer = weakref.finalize(owner, self._free.append, block)
        finalizer.atexit = False
        array = owner.reshape(self._shape)[: len(values)]
        np.copyto(array, values, casting="no")
        return array
