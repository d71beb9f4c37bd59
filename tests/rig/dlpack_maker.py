"""A maker of DLPack capsules with ctypes: by the book, or wrong in one way."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from fake_gpu import Work

GPU, PINNED, ROCM, MANAGED = 2, 3, 10, 13
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(
    ("PyCapsule_GetName", ctypes.pythonapi)
)
DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("type", ctypes.c_uint8 * 4),  # code, bits, lanes
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    )


class Managed(ctypes.Structure):
    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", DELETER))


class Versioned(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32 * 2),
        ("context", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


class HandedOver:
    """An array of the fake GPU that has DLPack alone.

    Attributes:
        asked: the streams that consumers said they read on.
        capsules: that were made.
        given_back: how often the deleter was called.
    """

    def __init__(
        self,
        machine: Any,
        values: np.ndarray,
        *,
        context: int,
        device: tuple[int, int] = (GPU, 0),
        version: int | None = None,
        **described: Any,
    ) -> None:
        self.machine, self.device, self.version = machine, device, version
        self.block = machine.gpu.allocate(values.nbytes, "device", context)
        self.block.data[:] = values.reshape(-1)
        self.values, self.shape, self.described = values, values.shape, described
        self.asked: list[int | None] = []
        self.capsules: list[Any] = []
        self.given_back = 0
        self._kept: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: int | None = None, **newer: Any) -> object:
        if self.version is None and newer:
            raise TypeError(f"unexpected keyword {next(iter(newer))!r}")
        self.asked.append(stream)
        capsule = self.capsule()
        self.capsules.append(capsule)
        return capsule

    def names(self) -> list[bytes]:
        return [_name(capsule) for capsule in self.capsules]

    def capsule(self) -> object:
        shape = (ctypes.c_int64 * len(self.shape))(*self.shape)
        strides = self.described.get("strides")
        steps = (ctypes.c_int64 * len(strides))(*strides) if strides else None
        tensor = Tensor(
            self.block.address - 64,
            self.device,
            len(shape),
            self.described.get("type", (1, 8, 1, 0)),
            ctypes.addressof(shape),
            ctypes.addressof(steps) if steps else None,
            64,
        )
        managed: Any
        if self.version is None:
            managed, name = Managed(tensor, None, DELETER(self._delete)), b"dltensor"
        else:
            managed = Versioned((self.version, 0), None, DELETER(self._delete), 1, tensor)
            name = b"dltensor_versioned"
        self._kept += [shape, steps, managed, name]
        return _new(ctypes.addressof(managed), name, None)

    def _delete(self, managed: int) -> None:
        assert managed == ctypes.addressof(self._kept[2])
        self.given_back += 1

    def write_later(self, stream: int, values: np.ndarray) -> None:
        """What its maker writes on a stream, some time later."""

        def write() -> None:
            self.block.data[:] = values.reshape(-1)

        place = (self.block.address, values.nbytes)
        self.machine.gpu.put(stream, Work("the producer", [], [place], write))
